package digests_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

func weight(n uint64) digest.Digest {
	return digest.Digest{Documents: 1, Versions: n << 55, Content: digest.Sum{Hi: n << 60, Lo: ^uint64(0) - n}}
}

var collection = crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 2}

func buckets(t *testing.T, table *digests.Table) map[int]digest.Digest {
	t.Helper()
	all, err := table.Buckets(collection)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTableIsTheSameInWhateverOrderAndAfterAStart(t *testing.T) {
	const n = 500
	fill := func(s store.Store, order func(i int) int) *digests.Table {
		t.Helper()
		table, err := digests.Open(s)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			k := order(i)
			b := &store.Batch{}
			table.Begin(b)
			key := store.DocKey{Collection: collection, ID: fmt.Sprint(k)}
			// Each document is written twice.
			for _, step := range [][2]digest.Digest{{{}, weight(uint64(k + n))}, {weight(uint64(k + n)), weight(uint64(k))}} {
				if err := table.Replace(key, step[0], step[1]); err != nil {
					t.Fatal(err)
				}
			}
			table.Finish()
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
		}
		return table
	}
	a, b := memstore.New(), memstore.New()
	up := fill(a, func(i int) int { return i })
	down := fill(b, func(i int) int { return n - 1 - i })
	again, err := digests.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	if up.Total() != down.Total() || up.Total() != again.Total() || up.Total().Documents != n {
		t.Errorf("%v, %v, after a start %v", up.Total(), down.Total(), again.Total())
	}
	var sum digest.Digest
	for _, d := range buckets(t, again) {
		sum = sum.Plus(d)
	}
	if cs := again.Collections(); len(cs) != 1 || cs[0].Digest != sum || cs[0].Incarnation != collection {
		t.Errorf("collections %v, sum of the buckets %v", cs, sum)
	}

	batch := &store.Batch{}
	again.Begin(batch)
	for k := range n {
		if err := again.Replace(store.DocKey{Collection: collection, ID: fmt.Sprint(k)}, weight(uint64(k)), digest.Digest{}); err != nil {
			t.Fatal(err)
		}
	}
	again.Finish()
	if err := a.Commit(batch); err != nil {
		t.Fatal(err)
	}
	for i, d := range buckets(t, again) {
		if !d.IsZero() {
			t.Errorf("bucket %d still has %v", i, d)
		}
	}
	if !again.Total().IsZero() || len(again.Collections()) > 0 {
		t.Errorf("left: %v", again.Total())
	}
}

// TestTableIsReadBackAfterEachBatch goes on with what is durable after each batch,
// over several checkpoints, with one table that goes on as it is and one that is
// opened anew.
func TestTableIsReadBackAfterEachBatch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := memstore.New()
		table, err := digests.Open(s)
		if err != nil {
			rt.Fatal(err)
		}
		weights := map[store.DocKey]digest.Digest{}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		for range rapid.IntRange(1, 4).Draw(rt, "turns") {
			// Many small batches in a row end a round of the journal, large ones make a checkpoint.
			batches, docs := 1, rapid.SampledFrom([]int{1, 1, 50, 2500}).Draw(rt, "documents")
			if docs == 1 {
				batches = rapid.SampledFrom([]int{1, 2, 100, 300}).Draw(rt, "batches")
			}
			spread := rapid.SampledFrom([]uint64{1, 2, 400}).Draw(rt, "collections")
			for range batches {
				b := &store.Batch{}
				table.Begin(b)
				for range docs {
					key := store.DocKey{
						Collection: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1 + random.Uint64N(spread)},
						ID:         fmt.Sprint(random.IntN(5000)),
					}
					var after digest.Digest
					if n := random.Uint64N(10); n > 0 {
						after = weight(n)
					}
					if err := table.Replace(key, weights[key], after); err != nil {
						rt.Fatal(err)
					}
					weights[key] = after
				}
				table.Finish()
				if len(b.Meta) > docs+300 {
					rt.Fatalf("a batch writes %d records", len(b.Meta))
				}
				if err := s.Commit(b); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.Bool().Draw(rt, "crash") {
				if table, err = digests.Open(s); err != nil {
					rt.Fatal(err)
				}
			}
		}
		again, err := digests.Open(s)
		if err != nil {
			rt.Fatal(err)
		}
		want := map[crdt.Dot]map[int]digest.Digest{}
		for key, w := range weights {
			if want[key.Collection] == nil {
				want[key.Collection] = map[int]digest.Digest{}
			}
			n := digest.Bucket(key.ID)
			want[key.Collection][n] = want[key.Collection][n].Plus(w)
		}
		for name, x := range map[string]*digests.Table{"as it went on": table, "opened anew": again} {
			var total digest.Digest
			for c, sums := range want {
				got, err := x.Buckets(c)
				if err != nil {
					rt.Fatal(err)
				}
				if wrong := digests.Differ(got, sums); wrong != nil {
					rt.Fatalf("%s: the buckets %v of %v differ", name, wrong, c)
				}
				for _, d := range sums {
					total = total.Plus(d)
				}
			}
			if x.Total() != total {
				rt.Fatalf("%s: total %v, want %v", name, x.Total(), total)
			}
		}
	})
}

func TestClearedTableIsEmptyAfterAStart(t *testing.T) {
	s := memstore.New()
	table, err := digests.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(change func(b *store.Batch)) {
		t.Helper()
		b := &store.Batch{}
		table.Begin(b)
		change(b)
		table.Finish()
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	put := func(i int) {
		commit(func(*store.Batch) {
			if err := table.Replace(store.DocKey{Collection: collection, ID: fmt.Sprint(i)}, digest.Digest{}, weight(7)); err != nil {
				t.Fatal(err)
			}
		})
	}
	for i := range 600 {
		put(i)
	}
	for more := true; more; {
		commit(func(*store.Batch) {
			left := uint64(50)
			if err := table.Clear(nil, &left); err != nil {
				t.Fatal(err)
			}
			more = left < 50
		})
	}
	put(1000)
	again, err := digests.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if again.Total() != weight(7) || table.Total() != weight(7) {
		t.Errorf("after a clearing and one document: %v, opened anew %v", table.Total(), again.Total())
	}
}

// What is read back from a disk is what was written, or an error.
func FuzzOpen(f *testing.F) {
	s := memstore.New()
	table, err := digests.Open(s)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 300 {
		b := &store.Batch{}
		table.Begin(b)
		if err := table.Replace(store.DocKey{Collection: collection, ID: fmt.Sprint(i)}, digest.Digest{}, weight(9)); err != nil {
			f.Fatal(err)
		}
		table.Finish()
		if err := s.Commit(b); err != nil {
			f.Fatal(err)
		}
	}
	for e, err := range s.MetaRange(digests.Prefix, "") {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.Name, bytes.Clone(e.Value))
	}
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		s := memstore.New()
		if err := s.Commit(&store.Batch{Meta: map[string][]byte{name: value}}); err != nil {
			return // a name that is too long
		}
		if _, err := digests.Open(s); err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
