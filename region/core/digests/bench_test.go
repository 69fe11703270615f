package digests_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

// A load changes documents anywhere in some collections.
type load struct {
	collections, batch int
}

func (l load) String() string { return fmt.Sprintf("collections=%d/batch=%d", l.collections, l.batch) }

var loads = []load{{1, 1}, {1, 5}, {1, 30}, {10, 5}, {10, 30}, {100, 30}}

// documents is how many documents a load has in each collection.
const documents = 10_000

// keys are the documents in random order, again and again.
func (l load) keys(random *rand.Rand) func() store.DocKey {
	var ids [documents]string
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	return func() store.DocKey {
		c := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1 + random.Uint64N(uint64(l.collections))}
		return store.DocKey{Collection: c, ID: ids[random.IntN(len(ids))]}
	}
}

// batches makes n batches of a load, and shows each.
func (l load) batches(tb testing.TB, table *digests.Table, n int, show func(*store.Batch)) {
	key := l.keys(rand.New(rand.NewPCG(1, 2)))
	for i := range n {
		b := &store.Batch{}
		table.Begin(b)
		for j := range l.batch {
			if err := table.Replace(key(), digest.Digest{}, weight(uint64(i*l.batch+j+1))); err != nil {
				tb.Fatal(err)
			}
		}
		table.Finish()
		show(b)
	}
}

// BenchmarkTable is what a change costs the owner, and how much it puts into the store.
func BenchmarkTable(b *testing.B) {
	for _, l := range loads {
		b.Run(l.String(), func(b *testing.B) {
			table, err := digests.Open(memstore.New())
			if err != nil {
				b.Fatal(err)
			}
			bytes := 0
			b.ReportAllocs()
			b.ResetTimer()
			l.batches(b, table, b.N/l.batch+1, func(batch *store.Batch) {
				for name, value := range batch.Meta {
					bytes += len(name) + len(value)
				}
			})
			b.ReportMetric(float64(bytes)/float64(b.N), "stored-B/op")
		})
	}
}
