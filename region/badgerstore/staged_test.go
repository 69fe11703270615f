package badgerstore

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// stagedSize is the length of a document: one in four is in chunks.
func stagedSize(i int) int {
	if i%4 == 0 {
		return 1 << 20
	}
	return 300 << 10
}

func stagedBatch(fill byte) *store.Batch {
	b := &store.Batch{Meta: map[string][]byte{"fill": {fill}}}
	for i := range 12 {
		b.Docs = append(b.Docs, store.DocPut{
			Key:   store.DocKey{ID: fmt.Sprint(i)},
			State: bytes.Repeat([]byte{fill}, stagedSize(i)),
		})
	}
	return b
}

// TestCrashAmidLargeBatch interrupts a large batch after each of its steps.
func TestCrashAmidLargeBatch(t *testing.T) {
	opt := Options{MemTableBytes: MinMemTableBytes}
	put := func(key, value []byte) []write { return []write{{Op: record.Op{Key: key, Value: value}}} }
	remove := func(key []byte) []write { return []write{{Op: record.Op{Key: key, Remove: true}}} }
	parts := split((&Store{}).expand(record.Ops(stagedBatch('b'))).writes)
	var steps [][]write
	for i, p := range parts {
		steps = append(steps, put(stageKey(i), encodeWrites(p)))
	}
	marked := len(steps)
	steps = append(steps, put(stageMark, []byte{0, 0, 0, byte(len(parts))}))
	steps = append(steps, parts...)
	steps = append(steps, remove(stageMark), remove(stageKey(0)))

	for done := range len(steps) + 1 {
		t.Run(fmt.Sprintf("AfterStep%d", done), func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(dir, opt)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(stagedBatch('a')); err != nil {
				t.Fatal(err)
			}
			for _, step := range steps[:done] {
				if err := s.commitWrites(step); err != nil {
					t.Fatal(err)
				}
			}
			if m, err := s.Meta("fill"); err != nil || string(m) != "a" {
				t.Errorf("a reader sees %q before the end, %v", m, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(dir, opt); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want := byte('a')
			if done > marked {
				want = 'b'
			}
			for i := range 12 {
				got, err := s.Doc(store.DocKey{ID: fmt.Sprint(i)})
				if err != nil || len(got) != stagedSize(i) || got[0] != want {
					t.Fatalf("document %d is %.1q with %d bytes, want %q, %v", i, got, len(got), want, err)
				}
			}
			if n, err := s.stagedParts(); n != 0 || err != nil {
				t.Errorf("%d parts are left, %v", n, err)
			}
			if err := s.Commit(stagedBatch('c')); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWritesEncoding(t *testing.T) {
	writes := []write{
		{Op: record.Op{Key: []byte("k"), Value: []byte("v")}},
		{Op: record.Op{Key: []byte{0}, Value: []byte{}}},
		{Op: record.Op{Key: []byte("gone"), Value: []byte{}, Remove: true}},
		{Op: record.Op{Key: []byte("v"), Value: bytes.Repeat([]byte("x"), 300), Expires: time.UnixMilli(1_700_000_000_123), Mark: 200}},
		{Op: record.Op{Key: []byte("large"), Value: []byte{200, 1}}, large: true},
	}
	b := encodeWrites(writes)
	got, err := decodeWrites(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(writes, got, cmp.AllowUnexported(write{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	whole := 0
	for n := range b {
		if got, err := decodeWrites(b[:n]); err == nil {
			if whole++; len(got) >= len(writes) {
				t.Errorf("%d of %d bytes give all writes", n, len(b))
			}
		}
	}
	if whole != len(writes) { // nothing, and after each but the last
		t.Errorf("%d prefixes decode, want %d", whole, len(writes))
	}
}

func TestPinList(t *testing.T) {
	var l pinList
	if l.oldest(5) != 5 {
		t.Error("an empty list holds something")
	}
	a, a2, b, c := l.hold(1), l.hold(1), l.hold(2), l.hold(7)
	if a != a2 || l.oldest(9) != 1 {
		t.Error("one version, one pin")
	}
	for i, step := range []struct {
		p       *pin
		changed bool
		oldest  uint64
	}{{a, false, 1}, {b, false, 1}, {a, true, 7}, {c, true, 9}} {
		if got := l.release(step.p); got != step.changed || l.oldest(9) != step.oldest {
			t.Errorf("step %d: changed %v, oldest %d, want %v, %d", i, got, l.oldest(9), step.changed, step.oldest)
		}
	}
	if l.first != nil || l.last != nil {
		t.Error("the list is not empty")
	}
}

// TestDiscardFollowsSnapshots: what nobody can read any more may go, what a
// snapshot can read may not, however much is written.
func TestDiscardFollowsSnapshots(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MemTableBytes: MinMemTableBytes, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(fill byte) {
		t.Helper()
		var b store.Batch
		for i := range 40 {
			b.Docs = append(b.Docs, store.DocPut{
				Key:   store.DocKey{Collection: crdt.Dot{Seq: 1}, ID: fmt.Sprint(i)},
				State: bytes.Repeat([]byte{fill, byte(i)}, 20<<10),
			})
		}
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	put('a')
	sn := s.Snapshot()
	defer sn.Close()
	for i := range 60 { // 100 MB, six memory tables
		put(byte(i))
	}
	if err := s.db.Flatten(2); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		got, err := sn.Doc(store.DocKey{Collection: crdt.Dot{Seq: 1}, ID: fmt.Sprint(i)})
		if err != nil || len(got) == 0 || got[0] != 'a' {
			t.Fatalf("document %d in the snapshot: %.2q, %v", i, got, err)
		}
	}
}

// TestFastBatchesAreOneTransaction, with the smallest memory table.
func TestFastBatchesAreOneTransaction(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for _, n := range []int{1, 2, 100, store.FastBatchRecords} {
		b := &store.Batch{}
		per := store.FastBatchBytes/n - 64 - 8
		for i := range n {
			id := fmt.Sprintf("%08d", i)
			b.Docs = append(b.Docs, store.DocPut{Key: store.DocKey{ID: id}, State: bytes.Repeat([]byte{1}, per)})
		}
		if size, records := b.Size(); size > store.FastBatchBytes || size < store.FastBatchBytes*9/10 || records != n {
			t.Fatalf("a batch of %d bytes in %d records", size, records)
		}
		before := s.nextTs
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		if s.nextTs != before+1 {
			t.Errorf("%d records took %d transactions", n, s.nextTs-before)
		}
	}
}
