package region

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// startAlone runs a region that has no peers until the test ends.
func startAlone(t *testing.T) *Region {
	t.Helper()
	tr, err := memnet.New(memnet.Options{}).Transport("us-east", transport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Region: "us-east", Cluster: "test", Logger: slog.New(slog.DiscardHandler)}, memstore.New(), tr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for r.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	return r
}

func cacheKey(id string) store.DocKey { return store.DocKey{ID: id} }

func at(seq uint64) crdt.Vector { return crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: seq}) }

func batchOf(ids ...string) *store.Batch {
	b := &store.Batch{}
	for _, id := range ids {
		b.Docs = append(b.Docs, store.DocPut{Key: cacheKey(id)})
	}
	return b
}

func TestReadCacheShowsNothingOlderThanWhatIsPublished(t *testing.T) {
	c := newReadCache(1 << 20)
	p1, p2 := &published{have: at(1)}, &published{have: at(2)}
	fill := func(p *published) *kept {
		_, generation := c.get(cacheKey("a"), p)
		return c.put(cacheKey("a"), Document{ID: "a", Have: p.have}, nil, 100, generation)
	}
	if fill(p1) == nil {
		t.Fatal("not kept")
	}
	if k, _ := c.get(cacheKey("a"), p1); k == nil {
		t.Fatal("not found")
	}
	// A read that began before the commit ends during it, or after it.
	_, early := c.get(cacheKey("a"), p1)
	c.committing(batchOf("a"))
	if k, _ := c.get(cacheKey("a"), p1); k != nil {
		t.Error("a document is shown that a commit under way changes")
	}
	_, during := c.get(cacheKey("a"), p1)
	if c.put(cacheKey("a"), Document{Have: at(1)}, nil, 100, during) != nil {
		t.Error("kept while it is being changed")
	}
	c.committed(batchOf("a"))
	for _, generation := range []uint64{early, during} {
		if c.put(cacheKey("a"), Document{Have: at(1)}, nil, 100, generation) != nil {
			t.Error("kept, though read before the commit was over")
		}
	}
	if fill(p2) == nil {
		t.Error("not kept after the commit")
	}
}

// Whoever read a document as a commit that is under way leaves it must not be shown an
// older one afterwards: none is kept until the commit is over, for none of its documents.
func TestReadCacheKeepsNothingThatIsBeingChanged(t *testing.T) {
	c := newReadCache(64 << 20)
	p := &published{have: at(1)}
	ids := make([]string, 10*readShards) // several in each shard
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	keeps := func(id string) bool {
		_, generation := c.get(cacheKey(id), p)
		return c.put(cacheKey(id), Document{ID: id, Have: p.have}, nil, 100, generation) != nil
	}
	for range 2 { // the second time with what the first has left
		c.committing(batchOf(ids...))
		for _, id := range ids {
			if keeps(id) {
				t.Errorf("%s is kept while it is being changed", id)
			}
			if !keeps("other " + id) {
				t.Errorf("another document than those of the batch is not kept beside %s", id)
			}
		}
		c.committed(batchOf(ids...))
		for _, id := range ids {
			if !keeps(id) {
				t.Errorf("%s is not kept after the commit", id)
			}
		}
	}
}

// What a commit has made durable is read before it is published, but not shown
// under the vector that is: that does not cover it.
func TestReadCacheShowsNothingNewerThanWhatIsPublished(t *testing.T) {
	c := newReadCache(1 << 20)
	p1, p2 := &published{have: at(1)}, &published{have: at(2)}
	_, generation := c.get(cacheKey("a"), p1)
	c.put(cacheKey("a"), Document{Have: at(2)}, nil, 100, generation)
	if k, _ := c.get(cacheKey("a"), p1); k != nil {
		t.Error("shown under a vector that does not cover it")
	}
	if k, _ := c.get(cacheKey("a"), p2); k == nil {
		t.Error("not found under its own vector")
	}
	if k, _ := c.get(cacheKey("a"), &published{have: at(2), catalog: &core.Catalog{}}); k != nil {
		t.Error("shown as other settings had it")
	}
}

func TestI08_ReadCacheIsBounded(t *testing.T) {
	const limit = 1 << 20
	c := newReadCache(limit)
	p := &published{have: at(1)}
	put := func(id string, record int) *kept {
		_, generation := c.get(cacheKey(id), p)
		return c.put(cacheKey(id), Document{ID: id, Have: p.have}, nil, record, generation)
	}
	for i := range 10_000 {
		put(fmt.Sprint(i), i%4000)
	}
	bytes, count := 0, 0
	for i := range c.shards {
		s := &c.shards[i]
		bytes, count = bytes+s.bytes, count+s.lru.Len()
		sum := 0
		for _, k := range s.lru.Values() {
			sum += k.size
		}
		if sum != s.bytes {
			t.Fatalf("a shard counts %d bytes of %d", s.bytes, sum)
		}
	}
	if bytes > limit || count == 0 {
		t.Errorf("%d bytes in %d documents", bytes, count)
	}
	if put("huge", maxKept) != nil {
		t.Error("a document was kept that is too large")
	}
	if put("failed", 1); c.put(cacheKey("failed"), Document{View: crdt.View{Conflicts: []crdt.Resolved{{Outcome: crdt.Outcome{Failed: "timeout"}}}}}, nil, 1, 0) != nil {
		t.Error("what a policy could not decide was kept")
	}
}

// Readers that never stop see what each acknowledged write wrote, or a later one,
// under a vector that covers it, and never go back.
func TestReadsAreNeverOlderThanAcknowledgedWrites(t *testing.T) {
	r := startAlone(t)
	const writes, readers = 300, 4
	write := func(n int64) core.Receipt {
		rec, err := r.Write(t.Context(), core.Write{Docs: []core.DocWrite{{
			Collection: "c", ID: "hot", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": n}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	write(0)
	var (
		mu    sync.Mutex
		acked int64
		wg    sync.WaitGroup
	)
	stop := make(chan struct{})
	for range readers {
		wg.Go(func() {
			last := int64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				least := max(acked, last)
				mu.Unlock()
				d, err := r.Get(t.Context(), "c", "hot")
				if err != nil {
					t.Error(err)
					return
				}
				last = d.View.Value.(map[string]any)["n"].(int64)
				if last < least {
					t.Errorf("read %d, though %d was acknowledged or read before", last, least)
					return
				}
				for _, v := range d.Versions {
					if !d.Have.Contains(v.Dot) {
						t.Errorf("version %v is not covered by %v", v.Dot, d.Have)
						return
					}
				}
			}
		})
	}
	for n := range int64(writes) {
		write(n + 1)
		mu.Lock()
		acked = n + 1
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
}
