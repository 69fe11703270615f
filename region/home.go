package region

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// SetHome moves, claims or takes a strict home. The error is a
// *core.NotHomeError if another region has to do it.
func (r *Region) SetHome(ctx context.Context, ask core.SetHome) (core.HomeReceipt, error) {
	res, err := r.submit(ctx, ask)
	if err != nil {
		return core.HomeReceipt{}, err
	}
	return res.(core.HomeReceipt), nil
}

// Authority reports whether this region has authority over the documents of a
// home now: nil if it has. What it shows of them then is what their last write made them.
func (r *Region) Authority(incarnation crdt.Dot, id string) error {
	return r.published.Load().authority(r.cfg.Region, incarnation, id)
}

func (p *published) authority(self string, incarnation crdt.Dot, id string) error {
	col, err := p.catalog.Collection(incarnation.String())
	if err != nil {
		return err
	}
	if h := col.Home(id); h != nil && h.Strict() {
		return core.CheckHome(self, p.replica, col, h)
	}
	return nil
}

// AwaitAuthority waits until this region, which is to be the home of a document,
// is it, another region is, or ctx ends.
func (r *Region) AwaitAuthority(ctx context.Context, incarnation crdt.Dot, id string) error {
	return r.await(ctx, func(p *published) (bool, error) {
		err := p.authority(r.cfg.Region, incarnation, id)
		return !errors.Is(err, core.ErrHomePending), err
	})
}

// Fresh names regions that can be reached and are known, or can be taken, to hold
// all of v, the nearest first. One whose own writes are all that is missing here
// counts, since it is they who gave the token.
func (r *Region) Fresh(v crdt.Vector) []string {
	p := r.published.Load()
	writers := map[string]bool{}
	for _, span := range p.have.Missing(v) {
		writers[p.catalog.Region(span.Replica)] = true
	}
	type candidate struct {
		name string
		far  time.Duration
	}
	var found []candidate
	for _, name := range r.Members() {
		if name == r.cfg.Region || !(writers[name] && len(writers) == 1 || r.acks.holds(name, v)) || !r.Reaches(name) {
			continue
		}
		found = append(found, candidate{name, r.distance(name)})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.far, b.far) })
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].name
	}
	return names
}

// nearStep is by how much two regions have to differ in distance for one of them to
// be nearer: requests that follow each other go to the same one.
const nearStep = 10 * time.Millisecond

// Nearest are those of the regions that requests can be forwarded to now, the
// nearest first.
func (r *Region) Nearest(regions []string) []string {
	var out []string
	for _, name := range regions {
		if name != r.cfg.Region && r.Reaches(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(r.distance(a)/nearStep, r.distance(b)/nearStep) })
	return out
}

// unlinked stands for the distance of a region that is reached through others.
const unlinked = time.Hour

func (r *Region) distance(name string) time.Duration {
	r.mu.Lock()
	link := r.links[name]
	r.mu.Unlock()
	if link == nil {
		return unlinked
	}
	return link.Stats().RTT
}
