package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// A region takes part in a drill.
type region struct {
	name   string
	client *client.Client
	status *client.Cluster // at the beginning
}

func (r *region) link(peer string) *client.Link {
	for i := range r.status.Regions {
		if r.status.Regions[i].Region == peer {
			return &r.status.Regions[i].Link
		}
	}
	return nil
}

// connect asks the regions who they are.
func connect(ctx context.Context, addrs []string) ([]*region, error) {
	all := make([]*region, 0, len(addrs))
	for _, addr := range addrs {
		cl, err := client.New(addr)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		s, err := cl.Cluster(ctx)
		if err == nil {
			err = cl.Ready(ctx)
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", addr, err)
		}
		for _, o := range all {
			if o.name == s.Region || o.status.Cluster != s.Cluster {
				return all, fmt.Errorf("%w: %s is region %s of cluster %s, and %s is %s of %s", ErrConfig,
					addr, s.Region, s.Cluster, o.client.Addr(), o.name, o.status.Cluster)
			}
		}
		all = append(all, &region{s.Region, cl, s})
	}
	return all, nil
}

// A cut is a link that one of its ends is asked to cut.
type cut struct {
	at     *region
	peer   string
	before client.Fault
	done   bool
}

// find says who has to cut what.
func find(regions []*region, link string) ([]*cut, string, error) {
	if link == "" {
		link = regions[0].name + ":" + regions[1].name
	}
	known := map[string]*region{}
	for _, r := range regions {
		for i := range r.status.Regions {
			if name := r.status.Regions[i].Region; known[name] == nil {
				known[name] = nil
			}
		}
		known[r.name] = r
	}
	a, b, single := strings.Cut(link, ":")
	for _, name := range []string{a, b} {
		if _, ok := known[name]; !ok && (single || name == a) {
			return nil, link, fmt.Errorf("%w: there is no region %q in the cluster", ErrConfig, name)
		}
	}
	var cuts []*cut
	add := func(at *region, peer string) {
		if l := at.link(peer); l != nil && l.State == client.LinkUp {
			cuts = append(cuts, &cut{at: at, peer: peer})
		}
	}
	switch {
	case a == b:
		return nil, link, fmt.Errorf("%w: a region has no link with itself", ErrConfig)
	case single && known[a] == nil && known[b] == nil:
		return nil, link, fmt.Errorf("%w: give the address of %s or %s, who has to cut the link", ErrConfig, a, b)
	case single && known[a] != nil:
		add(known[a], b)
	case single:
		add(known[b], a)
	case known[a] != nil:
		for i := range known[a].status.Regions {
			add(known[a], known[a].status.Regions[i].Region)
		}
	default:
		return nil, link, fmt.Errorf("%w: give the address of %s, who has to cut its links", ErrConfig, a)
	}
	if len(cuts) == 0 {
		return nil, link, fmt.Errorf("%s is not up, so it cannot be cut; \"meridian status\" says why", link)
	}
	return cuts, link, nil
}

const (
	// margin is how much later than asked for a link comes back by itself, if the
	// drill cannot heal it.
	margin = 30 * time.Second
	// healWithin is for how long it is tried to heal a link.
	healWithin = 20 * time.Second
	retryEvery = 200 * time.Millisecond
	pollEvery  = 20 * time.Millisecond
)

// sever cuts the links. What is cut stays so if there is an error.
func sever(ctx context.Context, cuts []*cut, d time.Duration) error {
	for _, c := range cuts {
		before, err := c.at.client.Fault(ctx, c.peer)
		if err != nil {
			return fmt.Errorf("%s: %w", c.at.name, err)
		}
		c.before, c.done = *before, true
		f := client.Fault{State: client.LinkCut, For: (d + margin).String()}
		if err := c.at.client.SetFault(ctx, c.peer, f); err != nil {
			return fmt.Errorf("%s: %w", c.at.name, err)
		}
	}
	return nil
}

// heal puts back what there was before, also when the drill was interrupted.
func heal(ctx context.Context, cuts []*cut) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healWithin)
	defer cancel()
	var failed error
	for _, c := range cuts {
		if !c.done {
			continue
		}
		err := retry(ctx, func() error { return c.at.client.SetFault(ctx, c.peer, c.before) })
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("the link %s – %s could not be healed and stays cut for up to %v more: %w", c.at.name, c.peer, margin, err))
			continue
		}
		c.done = false
	}
	return failed
}

// retry repeats f until it succeeds or ctx ends, and returns its last error.
func retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		var p *client.ProblemError
		if errors.As(err, &p) && !p.Retryable {
			return err
		}
		if !wait(ctx, retryEvery) {
			return err
		}
	}
}

// wait reports whether the time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
