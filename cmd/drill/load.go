package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

const (
	// shared is how many documents all regions write to, sharedEach how often: one of so
	// many writes. The others make documents of their own.
	shared     = 8
	sharedEach = 4
	// writeTimeout bounds one write.
	writeTimeout = 10 * time.Second
	// meetWithin is how long the regions may take to have what is written before the cut.
	meetWithin = 10 * time.Second
)

// A load is the drill's own writes. Each makes a document of its own, or adds one to
// a counter of a document that all regions write to and says there who did.
type load struct {
	collection string
	run        string // prefix of the documents' ids
	writers    []*writer
}

// A writer writes to one region.
type writer struct {
	*load
	region *region

	mu sync.Mutex
	Writes
	took  []time.Duration
	made  []int       // numbers of the documents that were acknowledged
	maybe []int       // and of those without an answer
	added [shared]int // to the counters
	open  [shared]int // without an answer
}

// body is what a document of its own has.
type body struct {
	Region string `json:"region"`
	N      int    `json:"n"`
}

func newLoad(c *Config, regions []*region, started time.Time) *load {
	l := &load{collection: c.Collection, run: started.UTC().Format("20060102T150405.000") + "-"}
	for _, r := range regions {
		l.writers = append(l.writers, &writer{load: l, region: r, Writes: Writes{Region: r.name}})
	}
	return l
}

func (l *load) sharedID(k int) string             { return fmt.Sprintf("%sshared-%d", l.run, k) }
func (l *load) ownID(region string, n int) string { return fmt.Sprintf("%s%s-%d", l.run, region, n) }

// prepare makes the documents that all write to, and waits until all have them.
func (l *load) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meetWithin)
	defer cancel()
	first := l.writers[0].region.client
	for k := range shared {
		if _, err := first.Put(ctx, l.collection, l.sharedID(k), []byte(`{"writes": {"$counter": 0}}`), client.WriteOptions{}); err != nil {
			return err
		}
	}
	for _, w := range l.writers[1:] {
		at, err := first.At(w.region.client.Addr()) // with the token of what was written
		if err != nil {
			return err
		}
		if _, err := at.GetWith(ctx, l.collection, l.sharedID(0), client.ReadOptions{Wait: meetWithin}); err != nil {
			return fmt.Errorf("%s and %s are not in touch before anything is cut: %w", l.writers[0].region.name, w.region.name, err)
		}
	}
	return nil
}

// write writes to all regions, rate times a second to each, until ctx ends. Writes
// that are under way then are waited for.
func (l *load) write(ctx context.Context, rate int) {
	var wg sync.WaitGroup
	for _, w := range l.writers {
		wg.Go(func() {
			if rate == 0 {
				return
			}
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-tick.C:
					w.one(context.WithoutCancel(ctx), n)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
}

// one makes the n-th write.
func (w *writer) one(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	k := n / sharedEach % shared
	common := n%sharedEach == 0
	start := time.Now()
	var err error
	if common {
		patch := fmt.Sprintf(`[{"op":"inc","path":"/writes","value":1},{"op":"set","path":"/by","value":"%s %d"}]`, w.region.name, n)
		_, err = w.region.client.Patch(ctx, w.collection, w.sharedID(k), client.Operations, []byte(patch), client.WriteOptions{})
	} else {
		doc, _ := json.Marshal(body{w.region.name, n}) // cannot fail
		_, err = w.region.client.Put(ctx, w.collection, w.ownID(w.region.name, n), doc, client.WriteOptions{})
	}
	took := time.Since(start)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.Acknowledged++
		w.took = append(w.took, took)
		if common {
			w.added[k]++
		} else {
			w.made = append(w.made, n)
		}
		return
	}
	w.Error = err.Error()
	var p *client.ProblemError
	if errors.As(err, &p) && p.Name() != "timeout" {
		w.Refused++
		return
	}
	w.Unanswered++
	if common {
		w.open[k]++
	} else {
		w.maybe = append(w.maybe, n)
	}
}

// acknowledged counts the writes of all.
func (l *load) acknowledged() (n int) {
	for _, w := range l.writers {
		w.mu.Lock()
		n += w.Acknowledged
		w.mu.Unlock()
	}
	return n
}

// report tells how the writes went.
func (l *load) report() []Writes {
	out := make([]Writes, 0, len(l.writers))
	for _, w := range l.writers {
		r := w.Writes
		if n := len(w.took); n > 0 {
			slices.Sort(w.took)
			ms := func(i int) float64 { return float64(w.took[i].Microseconds()) / 1000 }
			r.P50Ms, r.P99Ms, r.MaxMs = ms(n/2), ms(n*99/100), ms(n-1)
		}
		out = append(out, r)
	}
	return out
}

// lost lists the acknowledged writes that a region does not have.
func (l *load) lost(ctx context.Context, at *region) ([]string, error) {
	docs := map[string]json.RawMessage{}
	for d, err := range at.client.All(ctx, l.collection, client.ListOptions{Prefix: l.run}) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.name, err)
		}
		docs[d.ID] = d.Value
	}
	var out []string
	for _, w := range l.writers {
		for _, n := range w.made {
			id := l.ownID(w.region.name, n)
			var got body
			if json.Unmarshal(docs[id], &got) != nil || got != (body{w.region.name, n}) {
				out = append(out, fmt.Sprintf("%s lacks %s, which %s acknowledged", at.name, id, w.region.name))
			}
		}
	}
	for k := range shared {
		added, open := 0, 0
		for _, w := range l.writers {
			added, open = added+w.added[k], open+w.open[k]
		}
		var got struct {
			Writes int `json:"writes"`
		}
		if err := json.Unmarshal(docs[l.sharedID(k)], &got); err != nil || got.Writes < added || got.Writes > added+open {
			out = append(out, fmt.Sprintf("%s counts %d writes of %s, of which %d were acknowledged, and %d not answered",
				at.name, got.Writes, l.sharedID(k), added, open))
		}
	}
	return out, nil
}

// deleters is how many documents are deleted at a time.
const deleters = 8

// remove deletes the documents of the drill.
func (l *load) remove(ctx context.Context) error {
	at := l.writers[0].region.client
	ids := make(chan string)
	var wg sync.WaitGroup
	errs := make([]error, deleters)
	for i := range deleters {
		wg.Go(func() {
			for id := range ids {
				_, err := at.Delete(ctx, l.collection, id, client.WriteOptions{})
				if err != nil && !errors.Is(err, client.ErrNotFound) {
					errs[i] = err
				}
			}
		})
	}
	for k := range shared {
		ids <- l.sharedID(k)
	}
	for _, w := range l.writers {
		for _, n := range slices.Concat(w.made, w.maybe) {
			ids <- l.ownID(w.region.name, n)
		}
	}
	close(ids)
	wg.Wait()
	return errors.Join(errs...)
}
