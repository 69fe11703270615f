package badgerstore

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A journal that Badger has started is known, and so its name durable, when the commit
// returns that had it started, whatever the records are like.
func TestNewJournalsAreNoticed(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{MemTableBytes: MinMemTableBytes, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := func() (n int) {
		names, err := filepath.Glob(filepath.Join(dir, badgerDir, "*"+memSuffix))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			i, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), memSuffix))
			if err != nil {
				t.Fatal(err)
			}
			n = max(n, i)
		}
		return n
	}
	for _, record := range []struct{ id, value, records int }{{1, 0, 2000}, {200, 1, 1000}, {20, 200, 1000}, {10, 20_000, 40}, {10, 1 << 20, 3}} {
		first, n := last(), 0
		for last() < first+2 {
			var b store.Batch
			for range record.records {
				n++
				key := store.DocKey{Collection: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}, ID: fmt.Sprintf("%0*d", record.id, n)}
				b.Docs = append(b.Docs, store.DocPut{Key: key, State: bytes.Repeat([]byte{byte(n)}, record.value)})
			}
			if err := s.Commit(&b); err != nil {
				t.Fatal(err)
			}
			if s.nextMem != last()+1 {
				t.Fatalf("%d records of %+v: the next journal is to be %d, and %d is there", n, record, s.nextMem, last())
			}
		}
	}
}
