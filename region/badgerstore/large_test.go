package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// chunksOf counts the chunks and the index entries that are in the store.
func chunksOf(t *testing.T, s *Store) (chunks, index int) {
	t.Helper()
	for prefix, n := range map[*[]byte]*int{&chunkPrefix: &chunks, &indexPrefix: &index} {
		err := s.scan(*prefix, *prefix, func(*badger.Txn, *badger.Item) bool { *n++; return true })
		if err != nil {
			t.Fatal(err)
		}
	}
	return chunks, index
}

// TestChunksGoWithTheirValue replaces values across the size at which they are
// cut, within batches and between them, and counts what is left.
func TestChunksGoWithTheirValue(t *testing.T) {
	const c = chunkBytes
	dir := t.TempDir()
	s := mustOpen(t, dir)
	tests := []struct {
		name          string
		sizes         []int // of puts of one document, in one batch; -1 removes
		chunks, index int
	}{
		{"up to the bound", []int{c}, 0, 0},
		{"just above", []int{c + 1}, 2, 1},
		{"more", []int{5 * c}, 5, 1},
		{"less", []int{2*c + 10}, 3, 1},
		{"small", []int{10}, 0, 0},
		{"large and small in one batch", []int{4 * c, 10}, 0, 0},
		{"small and large in one batch", []int{10, 2 * c}, 2, 1},
		{"several large ones in one batch", []int{7 * c, 20, 9 * c, 3 * c}, 3, 1},
		{"large and removed in one batch", []int{4 * c, -1}, 0, 0},
		{"large", []int{2 * c}, 2, 1},
		{"removed", []int{-1}, 0, 0},
		{"empty", []int{0}, 0, 0},
	}
	for i, tt := range tests {
		var b store.Batch
		var want []byte
		for j, n := range tt.sizes {
			if want = nil; n >= 0 {
				want = bytes.Repeat([]byte{byte(i), byte(j)}, n/2+1)[:n]
			}
			b.Docs = append(b.Docs, store.DocPut{Key: store.DocKey{ID: "a"}, State: want})
		}
		if err := s.Commit(&b); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for range 2 {
			if got, err := s.Doc(store.DocKey{ID: "a"}); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: read %d bytes, %v, want %d", tt.name, len(got), err, len(want))
			}
			if chunks, index := chunksOf(t, s); chunks != tt.chunks || index != tt.index || len(s.large) != tt.index {
				t.Errorf("%s: %d chunks, %d in the index, %d known, want %d, %d, %d",
					tt.name, chunks, index, len(s.large), tt.chunks, tt.index, tt.index)
			}
			if i%3 > 0 {
				break
			}
			if err := s.Close(); err != nil { // the next one must know from the disk
				t.Fatal(err)
			}
			s = mustOpen(t, dir)
		}
	}
}

func TestLargeRecordsOfEveryKind(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*chunkBytes/16+7)
	dot := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}
	expires := time.Now().Add(time.Hour)
	err := s.Commit(&store.Batch{
		Versions: []store.VersionPut{
			{Key: store.DocKey{ID: "a"}, Slot: 0, Tag: "t", State: big, Expires: expires},
			{Key: store.DocKey{ID: "a"}, Slot: 1, Tag: "u", State: big[1:]},
		},
		Log:  []store.LogPut{{Dot: dot, Chain: [store.ChainSize]byte{7}, Change: big}},
		Meta: map[string][]byte{"m": big},
	})
	if err != nil {
		t.Fatal(err)
	}
	if chain, ok, err := s.LogChain(dot); chain[0] != 7 || !ok || err != nil {
		t.Errorf("chain: %x, %v, %v", chain, ok, err)
	}
	for tag, want := range map[string][]byte{"t": big, "u": big[1:]} {
		if v, err := s.Version(store.DocKey{ID: "a"}, tag, time.Now()); err != nil || !bytes.Equal(v, want) {
			t.Errorf("version %s: %d bytes, %v", tag, len(v), err)
		}
	}
	if v, err := s.Version(store.DocKey{ID: "a"}, "t", expires); v != nil || err != nil {
		t.Errorf("an expired version: %d bytes, %v", len(v), err)
	}
	if m, err := s.Meta("m"); err != nil || !bytes.Equal(m, big) {
		t.Errorf("meta: %d bytes, %v", len(m), err)
	}
	err = s.Commit(&store.Batch{
		Versions: []store.VersionPut{{Key: store.DocKey{ID: "a"}, Slot: 0}, {Key: store.DocKey{ID: "a"}, Slot: 1}},
		TrimLog:  []crdt.Span{{Replica: dot.Replica, From: 1, To: 1}},
		Meta:     map[string][]byte{"m": nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	if chunks, index := chunksOf(t, s); chunks+index != 0 {
		t.Errorf("%d chunks and %d index entries are left", chunks, index)
	}
}

// TestLargeValuesGiveTheirSpaceBack overwrites large documents many times.
func TestLargeValuesGiveTheirSpaceBack(t *testing.T) {
	if testing.Short() {
		t.Skip("writes half a gigabyte")
	}
	s, err := Open(t.TempDir(), Options{MemTableBytes: MinMemTableBytes, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const docs, size, rounds = 10, 2 << 20, 25
	state := make([]byte, size)
	for round := range rounds {
		for d := range docs {
			x := uint64(round*docs+d) + 1
			for i := 0; i < size; i += 8 { // does not compress
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				binary.LittleEndian.PutUint64(state[i:], x)
			}
			b := &store.Batch{Docs: []store.DocPut{{Key: store.DocKey{ID: fmt.Sprint(d)}, State: state}}}
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	z, err := s.Sizes()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB written, %d MiB live, %d MiB in tables, %d MiB in journals",
		rounds*docs*size>>20, docs*size>>20, z.Records>>20, z.Journal>>20)
	if z.Records+z.Journal > rounds*docs*size/2 {
		t.Errorf("%+v after %d MiB were written over %d MiB", z, rounds*docs*size>>20, docs*size>>20)
	}
}
