package drill

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

const observeEvery = 250 * time.Millisecond

// An observer looks at how the regions lag and which conflicts they see.
type observer struct {
	regions []*region

	mu   sync.Mutex
	lags map[[2]string]*Lag
	seen []map[string]uint64 // by region, conflicts by collection
}

func observe(regions []*region) *observer {
	o := &observer{regions: regions, lags: map[[2]string]*Lag{}, seen: make([]map[string]uint64, len(regions))}
	for i, r := range regions {
		o.take(i, r.status)
	}
	return o
}

// run looks until ctx ends.
func (o *observer) run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range o.regions {
		wg.Go(func() {
			for wait(ctx, observeEvery) {
				o.look(ctx, i)
			}
		})
	}
	wg.Wait()
}

// look takes what one region tells, if it answers.
func (o *observer) look(ctx context.Context, i int) {
	if s, err := o.regions[i].client.Cluster(ctx); err == nil {
		o.take(i, s)
	}
}

func (o *observer) take(i int, s *client.Cluster) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range s.Regions {
		key := [2]string{s.Region, r.Region}
		l := o.lags[key]
		if l == nil {
			l = &Lag{From: s.Region, To: r.Region}
			o.lags[key] = l
		}
		l.Changes, l.Seconds = max(l.Changes, r.Lag), max(l.Seconds, r.LagSeconds)
	}
	now := map[string]uint64{}
	for _, c := range s.Conflicts.Seen {
		now[c.Collection] += c.Seen
	}
	o.seen[i] = now
}

// peaks lists the greatest lags, and the greatest of them.
func (o *observer) peaks() (all []Lag, peak Lag) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.lags {
		all = append(all, *l)
		if cmp.Or(cmp.Compare(l.Changes, peak.Changes), cmp.Compare(l.Seconds, peak.Seconds)) > 0 {
			peak = *l
		}
	}
	slices.SortFunc(all, func(a, b Lag) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return all, peak
}

// conflicts lists those that were seen since the beginning, as the region that
// saw most of a collection has counted them, and how many they are together.
func (o *observer) conflicts() (all []Conflicts, sum uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	most := map[string]uint64{}
	for i, r := range o.regions {
		before := map[string]uint64{}
		for _, c := range r.status.Conflicts.Seen {
			before[c.Collection] += c.Seen
		}
		for name, n := range o.seen[i] {
			if n > before[name] {
				most[name] = max(most[name], n-before[name])
			}
		}
	}
	for name, n := range most {
		all = append(all, Conflicts{name, n})
		sum += n
	}
	slices.SortFunc(all, func(a, b Conflicts) int { return cmp.Compare(a.Collection, b.Collection) })
	return all, sum
}
