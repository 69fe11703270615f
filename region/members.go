package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport"
)

// Members names the regions of the cluster, this one included, in order.
func (r *Region) Members() []string { return slices.Clone(r.published.Load().members) }

// CheckAddress says whether a region can listen at an address: HOST:PORT.
func CheckAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" || len(addr) > maxAddress || strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%w: %.100q is no address: write HOST:PORT, such as 10.0.0.2:7400", core.ErrInvalid, addr)
	}
	return nil
}

// maxAddress is the greatest length of an address: that of a host name, and a port.
const maxAddress = 253 + 6

// AddRegion makes a region a member of the cluster, or changes the address of one.
func (r *Region) AddRegion(ctx context.Context, ask core.AddRegion) (core.MemberReceipt, error) {
	if err := CheckName(ask.Region); err != nil {
		return core.MemberReceipt{}, err
	}
	if ask.Address != "" {
		if err := CheckAddress(ask.Address); err != nil {
			return core.MemberReceipt{}, err
		}
	}
	res, err := r.submit(ctx, ask)
	if err != nil {
		return core.MemberReceipt{}, err
	}
	return res.(core.MemberReceipt), nil
}

// RemoveRegion begins to remove a region from the cluster for good, and says how far
// that is.
func (r *Region) RemoveRegion(ctx context.Context, ask core.RemoveRegion) (core.RemovalReceipt, error) {
	if err := CheckName(ask.Region); err != nil {
		return core.RemovalReceipt{}, err
	}
	res, err := r.submit(ctx, ask)
	if err != nil {
		return core.RemovalReceipt{}, err
	}
	return res.(core.RemovalReceipt), nil
}

// Lost says which of the changes that a vector names were made in regions that were
// removed before another one had them. The error is a core.ErrWriteLost.
func (r *Region) Lost(v crdt.Vector) error {
	catalog := r.published.Load().catalog
	lost := catalog.Lost(v)
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("%w: change %v, of %s, which was removed before another region had it", core.ErrWriteLost, lost[0], catalog.Region(lost[0].Replica))
}

// SetTopology changes the shape of the links between the regions, while they serve.
func (r *Region) SetTopology(ctx context.Context, spec topology.Spec) (core.TopologyReceipt, error) {
	res, err := r.submit(ctx, core.SetTopology{Spec: spec})
	if err != nil {
		return core.TopologyReceipt{}, err
	}
	return res.(core.TopologyReceipt), nil
}

// setPeers tells the transport with whom to keep links, and how to reach them.
func (o *owner) setPeers(plan topology.Plan, unheard []string) {
	p := o.published.Load()
	self, listed := p.catalog.Member(o.cfg.Region)
	// Who may not be known to others by an address dials them all.
	eager := p.have.Len() == 0 || listed && self.Address == ""
	// All members may dial, since plans made from different observations may
	// differ; only those of the plan are dialled. A new one may not know by whom.
	peers := make(map[string]transport.Endpoint, len(p.members))
	if o.core.Open() {
		peers[transport.Anybody] = transport.Endpoint{}
	}
	for _, name := range p.members {
		if name != o.cfg.Region && !slices.Contains(p.pending, name) {
			planned := slices.Contains(plan.Peers(), name)
			peers[name] = transport.Endpoint{
				Addr: o.cfg.address(p.catalog, name),
				Dial: plan.Dials(name) || planned && (eager || p.catalog.Joining(name)) || slices.Contains(unheard, name),
			}
		}
	}
	for _, name := range p.catalog.Removed() {
		if _, ok := peers[name]; !ok && name != o.cfg.Region {
			peers[name] = transport.Endpoint{} // it may dial, to be told
		}
	}
	o.transport.SetPeers(peers)
	o.forwards.plan.Store(&plan)
}

// address is where a region is dialled: what an operator has set in the cluster
// goes before this region's configuration, and that before another one's.
func (c *Config) address(catalog *core.Catalog, name string) string {
	m, _ := catalog.Member(name)
	if addr := c.Peers[name]; addr != "" && (m.Implied || m.Address == "") {
		return addr
	}
	return m.Address
}

// unknown tells whether a peer does not know this region, whose store is empty,
// as a member.
func (o *owner) unknown() []core.Event {
	if o.published.Load().have.Len() > 0 {
		return nil
	}
	states := o.transport.Peers()
	for _, name := range o.cfg.peerNames() {
		if errors.Is(states[name].LastError, transport.ErrNotPeer) {
			return []core.Event{core.NotMember{Peer: name}}
		}
	}
	return nil
}
