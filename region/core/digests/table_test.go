package digests_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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
// over several rounds of the journal, with one table that goes on as it is and one that is
// opened anew.
func TestTableIsReadBackAfterEachBatch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := memstore.New()
		records, journalled := rapid.Uint64Range(1, 400).Draw(rt, "records"), rapid.IntRange(1, 1000).Draw(rt, "journalled")
		unsaved := rapid.IntRange(1, 400).Draw(rt, "unsaved")
		open := func() *digests.Table {
			table, err := digests.OpenWith(s, records, journalled, unsaved)
			if err != nil {
				rt.Fatal(err)
			}
			return table
		}
		table := open()
		weights := map[store.DocKey]digest.Digest{}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		for range rapid.IntRange(1, 4).Draw(rt, "turns") {
			// Many small batches in a row end a round of the journal, large ones do without.
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
				if len(b.Meta) > docs+unsaved+1 {
					rt.Fatalf("a batch writes %d records", len(b.Meta))
				}
				for name, value := range b.Meta {
					if strings.HasPrefix(name, digests.JournalPrefix) && len(value) > 64+(docs+unsaved)*25+min(docs, journalled)*(24+1+2+1+digest.Size) {
						rt.Fatalf("a batch puts %d bytes into the journal", len(value))
					}
				}
				if g, c, r := table.Waiting(); g > unsaved || c > journalled || r > int(records) {
					rt.Fatalf("%d groups wait, the journal has %d changes in %d records", g, c, r)
				}
				if err := s.Commit(b); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.Bool().Draw(rt, "crash") {
				table = open()
			}
		}
		again := open()
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

// What a change puts into the store hardly grows with the collections under load: their
// groups are saved after they have changed many times.
func TestAChangeStoresLittle(t *testing.T) {
	const least, most = 27, 130 // bytes: the bucket's number and digest; with its share of the rest
	for _, l := range []load{{1, 5}, {10, 5}, {10, 30}, {30, 30}} {
		table, err := digests.Open(memstore.New())
		if err != nil {
			t.Fatal(err)
		}
		bytes, batches := 0, 100_000/l.batch
		l.batches(t, table, batches, func(b *store.Batch) {
			for name, value := range b.Meta {
				bytes += len(name) + len(value)
			}
		})
		per := bytes / (batches * l.batch)
		t.Logf("%v: %d bytes for each change", l, per)
		if per < least || per > most {
			t.Errorf("%v: %d bytes for each change", l, per)
		}
	}
}

// A store of an earlier version has a journal whose records have other names, and do not say
// which groups are saved.
func TestEarlierJournalsAreRead(t *testing.T) {
	s := memstore.New()
	key, other := store.DocKey{Collection: collection, ID: "a"}, store.DocKey{Collection: collection, ID: "b"}
	old := []byte{2, 6, 1} // the format, the batch, one collection
	old = append(old, collection.Replica[:]...)
	old = binary.BigEndian.AppendUint64(old, collection.Seq)
	old = append(old, 1) // one bucket
	old = binary.BigEndian.AppendUint16(old, uint16(digest.Bucket(key.ID)))
	old = weight(5).Append(append(old, 1))
	stale := bytes.Clone(old)
	stale[1] = 4
	stale = weight(9).Append(stale[:len(stale)-len(weight(5).Append(nil))])
	if err := s.Commit(&store.Batch{Meta: map[string][]byte{
		digests.JournalPrefix + "\x06": old, digests.JournalPrefix + "\x07": stale, digests.Prefix + "s": {2, 5},
	}}); err != nil {
		t.Fatal(err)
	}
	want := map[store.DocKey]digest.Digest{key: weight(5)}
	for i := range 8 {
		table, err := digests.OpenWith(s, 3, 100, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := buckets(t, table)
		for k, w := range want {
			if b := digest.Bucket(k.ID); got[b] != w || len(got) != len(want) {
				t.Fatalf("start %d: %v, want %v", i, got, want)
			}
		}
		b := &store.Batch{}
		table.Begin(b)
		k := other // the first one goes through all of the journal and is saved
		if i == 0 {
			k = key
		}
		next := weight(uint64(10 + i))
		if err := table.Replace(k, want[k], next); err != nil {
			t.Fatal(err)
		}
		want[k] = next
		table.Finish()
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
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
	for i := range 5000 {
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

func TestWhatIsKeptWhenATableIsClearedGoesOn(t *testing.T) {
	s := memstore.New()
	table, err := digests.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	step := func(change func() error) {
		t.Helper()
		b := &store.Batch{}
		table.Begin(b)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		table.Finish()
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	key, gone := store.DocKey{Collection: collection, ID: "a"}, store.DocKey{Collection: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 9}, ID: "a"}
	for _, k := range []store.DocKey{key, gone} {
		step(func() error { return table.Replace(k, digest.Digest{}, weight(1)) })
	}
	step(func() error { left := uint64(50); return table.Clear([]crdt.Dot{collection}, &left) })
	for n := range uint64(3) {
		step(func() error { return table.Replace(key, weight(1+n), weight(2+n)) })
	}
	again, err := digests.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if again.Total() != weight(4) || table.Total() != weight(4) {
		t.Errorf("%v, opened anew %v", table.Total(), again.Total())
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
