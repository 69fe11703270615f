package digests_test

import (
	"fmt"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

func weight(n uint64) digest.Digest {
	return digest.Digest{Documents: 1, Versions: n << 55, Content: digest.Sum{Hi: n << 60, Lo: ^uint64(0) - n}}
}

func TestTableIsTheSameInWhateverOrderAndAfterAStart(t *testing.T) {
	collection := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 2}
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
	all, err := again.Buckets(collection)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
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
	for e, err := range a.MetaRange(digests.Prefix, "") {
		t.Errorf("%q is left, %v", e.Name, err)
	}
	if !again.Total().IsZero() || len(again.Collections()) > 0 {
		t.Errorf("left: %v", again.Total())
	}
}
