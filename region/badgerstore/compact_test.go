package badgerstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// What was replaced many times goes when the store is compacted, and what is there stays.
func TestCompactGivesRoomBack(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MemTableBytes: MinMemTableBytes, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const docs, size, rounds = 1000, 4000, 50
	random := rand.NewChaCha8([32]byte{1})
	key := func(i int) store.DocKey {
		return store.DocKey{Collection: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}, ID: fmt.Sprint(i)}
	}
	state := make([][]byte, docs)
	for range rounds {
		var b store.Batch
		for i := range state {
			state[i] = make([]byte, size)
			_, _ = random.Read(state[i])
			b.Docs = append(b.Docs, store.DocPut{Key: key(i), State: state[i]})
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Written(); n < docs*size*rounds {
		t.Errorf("%d bytes were written, it tells of %d", docs*size*rounds, n)
	}
	if share, err := s.Garbage(); err != nil || share < 0.5 || share > 1 {
		t.Errorf("a share of %v is garbage: %v", share, err)
	}
	before, err := s.Sizes()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	after, err := s.Sizes()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB of documents: %d MiB before, %d MiB after", docs*size>>20, before.Records>>20, after.Records>>20)
	if most := int64(docs * size * 11 / 10); after.Records > most || after.Journal > most {
		t.Errorf("it takes %+v bytes, and took %+v", after, before)
	}
	if n := s.Written(); n != 0 {
		t.Errorf("%d bytes were written since", n)
	}
	for i := range state {
		if got, err := s.Doc(key(i)); err != nil || !bytes.Equal(got, state[i]) {
			t.Fatalf("document %d: %v", i, err)
		}
	}
}

// A store that only grew has no garbage, and one from which all was removed is nothing else.
func TestGarbageIsWhatReadersDoNotSee(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MemTableBytes: MinMemTableBytes, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if share, err := s.Garbage(); err != nil || share != 0 {
		t.Errorf("a share of %v of an empty store is garbage: %v", share, err)
	}
	const size, batch = 4000, 500
	key := func(i int) store.DocKey {
		return store.DocKey{Collection: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}, ID: fmt.Sprintf("%08d", i)}
	}
	random := rand.NewChaCha8([32]byte{1})
	docs := 0
	// Writers wait for compactions when the first level has levelZeroStall tables.
	const most = (levelZeroStall + 2*numMemTables) * MinMemTableBytes / size
	for began := time.Now(); len(s.samplePlaces()) < 8; {
		if docs > most { // a compaction is under way
			if time.Since(began) > time.Minute {
				t.Fatalf("%d documents, and no table below the first level", docs)
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		var b store.Batch
		for i := range batch {
			p := store.DocPut{Key: key(docs + i), State: make([]byte, size)}
			_, _ = random.Read(p.State)
			b.Docs = append(b.Docs, p)
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
		docs += batch
	}
	if share, err := s.Garbage(); err != nil || share > 0.05 {
		t.Errorf("a share of %v of a store that only grew is garbage: %v", share, err)
	}
	for i := 0; i < docs; i += batch {
		var b store.Batch
		for j := range batch {
			b.Docs = append(b.Docs, store.DocPut{Key: key(i + j)})
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	if share, err := s.Garbage(); err != nil || share < 0.9 {
		t.Errorf("a share of %v is garbage when all was removed: %v", share, err)
	}
}
