package core

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// Who is a member is itself replicated: "m:<region>:<incarnation>" in the system
// collection. Until the first region is added there are no such documents, and
// the members are those of the configuration; that addition makes documents of
// them all.
//
// Adding a region is a change like any other, and needs nobody's consent; the
// region is let in when most of the others know of it (admit). It is
// safe for what is stable elsewhere (I12): a report counts for the stable vector
// of a region only once that holds all that the reporter held, so what is told
// by a region that has applied the addition counts nowhere where it is not
// applied. What is stable there was thus held by the newcomer's donors before
// they would serve it, and so by the newcomer before it writes.

// MaxMembers is the most regions that a cluster can have.
const MaxMembers = 64

// A Member is a region of the cluster.
type Member struct {
	Region string
	// Incarnation counts how often a region of this name was added, from 1.
	Incarnation uint64
	// Address is where it listens for other regions; "" if only the
	// configurations say that.
	Address string
	// Implied says that the address is from the configuration of the region that
	// made this, and not what anybody has asked for.
	Implied bool
	// Added is the change that made it a member, zero for one of the first.
	Added crdt.Dot
}

// ErrNotMember says that a region is not a member of the cluster (HTTP 503 where it is
// asked itself, 404 where it is named).
var ErrNotMember = errors.New("not a member of the cluster")

// AddRegion asks to make a region a member, or to change the address of one.
type AddRegion struct {
	// Region is its name, checked by package region.
	Region string
	// Address is where it listens for the others, needed for a new one.
	Address string
}

// A MemberReceipt answers AddRegion.
type MemberReceipt struct {
	Member Member
	// Added says that it was no member before.
	Added bool
	Have  crdt.Vector
}

const memberPrefix = "m:"

// A memberDoc is a member as the system collection has it, kept as one text.
type memberDoc struct {
	Member string `json:"member"`
}

type memberRecord struct {
	Address string `json:"address,omitempty"`
	Implied bool   `json:"implied,omitempty"`
	Added   string `json:"added,omitempty"`
}

func (m *Member) id() string {
	return memberPrefix + m.Region + ":" + strconv.FormatUint(m.Incarnation, 10)
}

func (m *Member) system() systemDoc {
	r := memberRecord{Address: m.Address, Implied: m.Implied}
	if !m.Added.IsZero() {
		r.Added = m.Added.String()
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts
	}
	return systemDoc{m.id(), memberDoc{string(b)}}
}

func parseMember(id string, doc []byte) (Member, error) {
	name, n, ok := strings.Cut(strings.TrimPrefix(id, memberPrefix), ":")
	incarnation, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || name == "" || len(name) > wire.MaxName {
		return Member{}, fmt.Errorf("%w: member %q", crdt.ErrCorrupt, id)
	}
	m := Member{Region: name, Incarnation: incarnation}
	var d memberDoc
	var r memberRecord
	if err := cmp.Or(json.Unmarshal(doc, &d), json.Unmarshal([]byte(d.Member), &r)); err != nil {
		return m, fmt.Errorf("%w: member %q: %w", crdt.ErrCorrupt, id, err)
	}
	m.Address, m.Implied = r.Address, r.Implied
	if r.Added != "" {
		m.Added, err = crdt.ParseDot(r.Added)
	}
	return m, err
}

// memberChanged takes a changed document of a member into the catalog.
func (c *Core) memberChanged(id string, doc []byte) error {
	m, err := parseMember(id, doc)
	if err != nil {
		return err
	}
	c.catalog = c.catalog.withMember(m)
	return nil
}

func (c *Catalog) withMember(m Member) *Catalog {
	if old, ok := c.members[m.Region]; ok && old.Incarnation > m.Incarnation {
		return c
	}
	if r, ok := c.removed(m.Region); ok && r.Incarnation >= m.Incarnation {
		return c
	}
	out := *c
	out.members = maps.Clone(c.members)
	out.members[m.Region] = m
	return &out
}

// Members lists the members in the order of names, none if no region was ever
// added: then they are those of the configuration.
func (c *Catalog) Members() []Member {
	return slices.SortedFunc(maps.Values(c.members), func(a, b Member) int { return strings.Compare(a.Region, b.Region) })
}

// Member finds a member by name.
func (c *Catalog) Member(region string) (Member, bool) {
	m, ok := c.members[region]
	return m, ok
}

// Members are the names of the members, this region's included, in order.
func (c *Core) Members() []string { return c.members }

// Pending are the names of the members that are not let in yet, in order.
func (c *Core) Pending() []string { return c.pending }

// regroup brings the peers in line with who is a member. A region that has to
// catch up keeps to those that it began with, and those from whom alone it can
// get what not all regions hold: not all members are known to it,
// and it must not be the one that a newcomer catches up with. Once it has caught up it
// may be that all members have to vouch for each other, those included that nobody has
// let in yet.
func (c *Core) regroup() {
	names := c.cfg.Members
	if !c.synced || c.boot.apart() {
		names = slices.Concat(names, c.members, c.heldWith())
		if c.caughtUp() {
			names = slices.AppendSeq(names, maps.Keys(c.catalog.members))
		}
	} else if len(c.catalog.members) > 0 {
		names = append(slices.Collect(maps.Keys(c.catalog.members)), c.cfg.Region)
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	defer c.admit()
	if slices.Equal(names, c.members) {
		return
	}
	c.members = names
	for _, name := range names {
		if c.peers[name] == nil && name != c.cfg.Region {
			c.peers[name], c.names = &peer{name: name, newsAt: c.uptime}, nil
		}
	}
	for _, name := range c.peerNames() {
		if !slices.Contains(names, name) {
			c.dropPeer(name)
		}
	}
	c.sync.replan = true
}

// peerNames are the regions that are peers, in order. They belong to the core.
func (c *Core) peerNames() []string {
	if c.names == nil {
		c.names = slices.AppendSeq(make([]string, 0, len(c.peers)), maps.Keys(c.peers))
		slices.Sort(c.names)
	}
	return c.names
}

// admit lets in the members whose addition most of the others hold, and those
// that have ever written, which others let in. Nobody links with the rest: were
// an addition only known to the region that made it, and that lost its store,
// those that remain would not know with whom to count for stability, and who has
// changes that they lack.
func (c *Core) admit() {
	var pending []string
	held, voters := 0, 0
	if c.announced && !c.boot.apart() {
		held, voters = 1, 1
	}
	for _, name := range c.peerNames() {
		p := c.peers[name]
		m, listed := c.catalog.Member(name)
		if m.Incarnation > max(p.incarnation, 1) {
			p.incarnation, p.admitted = m.Incarnation, false // it was removed, and added again
		}
		if !p.admitted {
			p.admitted = !listed && slices.Contains(c.cfg.Members, name) || listed && m.Added.IsZero() || c.catalog.Announced(name)
		}
		switch {
		case !p.admitted:
			pending = append(pending, name)
		case c.hasVoice(p):
			voters++
		}
	}
	for i := 0; i < len(pending); {
		m, listed := c.catalog.Member(pending[i])
		n := held
		for _, p := range c.peers {
			if p.admitted && c.hasVoice(p) && p.report.Have.Contains(m.Added) {
				n++
			}
		}
		if !listed || n*2 <= voters {
			i++
			continue
		}
		c.peers[pending[i]].admitted = true
		pending = slices.Delete(pending, i, i+1)
	}
	if !slices.Equal(pending, c.pending) {
		c.pending, c.sync.replan = pending, true
	}
}

// hasVoice reports whether a member has a place in the cluster: it is one of the first, or
// has written, and has not lost its store. The others hold nothing that anybody counts on, and
// may have to wait for who is to be let in.
func (c *Core) hasVoice(p *peer) bool {
	m, listed := c.catalog.Member(p.name)
	return !p.report.Copying && (!listed || m.Added.IsZero() || c.catalog.Announced(p.name))
}

// dropPeer forgets a region that is no member.
func (c *Core) dropPeer(name string) {
	c.linkDown(name)
	delete(c.peers, name)
	c.names = nil
	if c.boot.peer == name {
		c.boot.peer = ""
	}
	c.close(name, fmt.Errorf("%w: %s", ErrNotMember, name))
}

// addRegion makes a region a member.
func (c *Core) addRegion(ask AddRegion) (MemberReceipt, error) {
	if err := c.mayWrite(); err != nil {
		return MemberReceipt{}, err
	}
	if err := c.mayDecide(); err != nil {
		return MemberReceipt{}, err
	}
	if r, ok := c.catalog.Removing(ask.Region); ok {
		return MemberReceipt{}, fmt.Errorf("%w: %s, as asked of %s, and can be added again when that is done", ErrRemoving, r.Region, r.By)
	}
	first := c.firstMembers()
	before, _ := c.catalog.removed(ask.Region)
	m, known := c.catalog.Member(ask.Region)
	if i := slices.IndexFunc(first, func(f Member) bool { return f.Region == ask.Region }); i >= 0 {
		m, known = first[i], true
		first = slices.Delete(first, i, i+1)
	}
	switch {
	case known && (ask.Address == "" || ask.Address == m.Address && !m.Implied):
		return MemberReceipt{Member: m, Have: c.have}, nil
	case ask.Address == "":
		return MemberReceipt{}, fmt.Errorf("%w: the address of %.100q is missing: where does it listen for other regions?", ErrInvalid, ask.Region)
	case known:
		m.Address, m.Implied = ask.Address, false
	case len(c.members) >= MaxMembers:
		return MemberReceipt{}, fmt.Errorf("%w: the cluster has %d regions, no more are possible", ErrInvalid, len(c.members))
	default:
		m = Member{Region: ask.Region, Incarnation: before.Incarnation + 1, Address: ask.Address, Added: crdt.Dot{Replica: c.replica, Seq: c.have.Get(c.replica) + 1}}
	}
	docs := []systemDoc{m.system()}
	for i := range first {
		docs = append(docs, first[i].system())
	}
	if t, err := c.load(store.DocKey{ID: topologyID}, crdt.TypeDocument); err != nil {
		return MemberReceipt{}, err
	} else if !t.state.Heads().Visible() {
		docs = append(docs, topologySystem(c.sync.spec)) // so that the new one need not be told
	}
	if err := c.updateSystem(docs...); err != nil {
		return MemberReceipt{}, err
	}
	c.contact = c.contact || len(c.peers) == 0 // there was nobody whom it had to meet first
	c.note(false, "a region is a member now", "region", m.Region, "address", m.Address)
	return MemberReceipt{Member: m, Added: !known, Have: c.have}, nil
}

// mayDecide refuses to decide who is a member where it is not known whose cluster this is.
func (c *Core) mayDecide() error {
	if c.alone() && !c.contact && len(c.peers) > 0 && len(c.catalog.members) == 0 {
		return fmt.Errorf("%w: no peer was met yet, so it is not known whose cluster this is", ErrCatchingUp)
	}
	return nil
}

// updateSystem makes the next change, of documents of the system collection that
// others may have written.
func (c *Core) updateSystem(docs ...systemDoc) error {
	var seen crdt.Stamp
	for _, d := range docs {
		e, err := c.load(store.DocKey{ID: d.id}, crdt.TypeDocument)
		if err != nil {
			return err
		}
		seen = max(seen, e.state.Heads().MaxStamp())
	}
	return c.writeSystem(c.header(0, seen), docs...)
}

// firstMembers are those that have no document yet: the members of the
// configuration, and whoever has ever written.
func (c *Core) firstMembers() []Member {
	if len(c.catalog.members) > 0 {
		return nil
	}
	names := append(slices.Collect(maps.Values(c.catalog.regions)), c.cfg.Members...)
	var out []Member
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		out = append(out, Member{Region: name, Incarnation: 1, Address: c.cfg.Addresses[name], Implied: true})
	}
	return out
}

// SetTopology asks to change the shape of the links.
type SetTopology struct{ Spec topology.Spec }

// A TopologyReceipt answers SetTopology.
type TopologyReceipt struct {
	Spec topology.Spec
	Have crdt.Vector
}

// topologyID is the id of the topology in the system collection. Until it is
// set there, it is that of the configuration.
const topologyID = "t:"

// A topologyDoc is the topology as the system collection has it, kept as one text.
type topologyDoc struct {
	Topology string `json:"topology"`
}

func topologySystem(spec topology.Spec) systemDoc {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err) // texts
	}
	return systemDoc{topologyID, topologyDoc{string(b)}}
}

func (c *Core) setTopology(ask SetTopology) (TopologyReceipt, error) {
	if err := c.mayWrite(); err != nil {
		return TopologyReceipt{}, err
	}
	if err := ask.Spec.Validate(c.members); err != nil {
		return TopologyReceipt{}, fmt.Errorf("%w: topology: %w", ErrInvalid, err)
	}
	if err := c.updateSystem(topologySystem(ask.Spec)); err != nil {
		return TopologyReceipt{}, err
	}
	return TopologyReceipt{Spec: ask.Spec, Have: c.have}, nil
}

// topologyChanged takes up the shape that is wished for.
func (c *Core) topologyChanged(doc []byte) error {
	var d topologyDoc
	if err := json.Unmarshal(doc, &d); err != nil {
		return fmt.Errorf("%w: topology: %w", crdt.ErrCorrupt, err)
	}
	var spec topology.Spec
	err := json.Unmarshal([]byte(d.Topology), &spec)
	if err == nil {
		err = spec.Check()
	}
	if err != nil {
		// A newer version may know more shapes; correctness does not depend on it.
		c.note(true, "the topology is not understood here, it stays as it was", "error", err)
		return nil
	}
	c.sync.spec, c.sync.replan = spec, true
	return nil
}
