package badgerstore

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

var logReplica = crdt.ReplicaID{7}

// logEntries are entries from..to with changes of so many bytes.
func logEntries(from, to uint64, bytes int) []store.LogPut {
	var out []store.LogPut
	for seq := from; seq <= to; seq++ {
		change := make([]byte, bytes)
		change[0] = byte(seq)
		out = append(out, store.LogPut{Dot: crdt.Dot{Replica: logReplica, Seq: seq}, Chain: [store.ChainSize]byte{1, byte(seq)}, Change: change})
	}
	return out
}

func commitLog(t *testing.T, s *Store, puts []store.LogPut, trims ...crdt.Span) {
	t.Helper()
	if err := s.Commit(&store.Batch{Log: puts, TrimLog: trims}); err != nil {
		t.Fatal(err)
	}
}

// segments are those of the store, as pairs of first and last.
func segments(t *testing.T, s *Store) (out [][2]uint64) {
	t.Helper()
	var failure error
	prefix := record.AppendLogPrefix(nil, logReplica)
	err := s.scan(prefix, prefix, func(_ *badger.Txn, item *badger.Item) bool {
		var seg segment
		seg, failure = parseSegment(item.Key())
		out = append(out, [2]uint64{seg.first, seg.last})
		return failure == nil
	})
	if err := errors.Join(err, failure); err != nil {
		t.Fatal(err)
	}
	return out
}

func seqs(t *testing.T, s *Store, from, to uint64) (out []uint64) {
	t.Helper()
	for e, err := range s.Log(logReplica, from, to) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Chain[1] != byte(e.Dot.Seq) || e.Change[0] != byte(e.Dot.Seq) {
			t.Errorf("entry %v has the chain %x and the change %x", e.Dot, e.Chain[:2], e.Change[:1])
		}
		out = append(out, e.Dot.Seq)
	}
	return out
}

func TestWhatABatchAppendsToALogIsOneRecord(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	commitLog(t, s, logEntries(1, 100, 50))
	commitLog(t, s, logEntries(101, 101, 50))
	commitLog(t, s, logEntries(102, 102+maxSegmentEntries, 1))
	commitLog(t, s, logEntries(400, 403, maxSegmentBytes/3))
	commitLog(t, s, logEntries(404, 405, 2*maxSegmentBytes))
	last := uint64(102 + maxSegmentEntries)
	want := [][2]uint64{{1, 100}, {101, 101}, {102, last - 1}, {last, last}, {400, 401}, {402, 403}, {404, 404}, {405, 405}}
	if got := segments(t, s); !slices.Equal(got, want) {
		t.Errorf("segments %v, want %v", got, want)
	}
	if got := seqs(t, s, 99, 103); !slices.Equal(got, []uint64{99, 100, 101, 102, 103}) {
		t.Errorf("99 to 103 are %v", got)
	}
}

func TestLogIsCutWithinSegments(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	commitLog(t, s, logEntries(1, 10, 5))
	commitLog(t, s, logEntries(11, 20, 5))
	commitLog(t, s, logEntries(21, 30, 5))
	commitLog(t, s, nil, crdt.Span{Replica: logReplica, From: 1, To: 15})
	if got, want := segments(t, s), [][2]uint64{{16, 20}, {21, 30}}; !slices.Equal(got, want) {
		t.Errorf("segments %v, want %v", got, want)
	}
	// In the middle of one, in pieces, and up to what the same batch appends.
	commitLog(t, s, logEntries(31, 33, 5), crdt.Span{Replica: logReplica, From: 23, To: 23},
		crdt.Span{Replica: logReplica, From: 25, To: 25}, crdt.Span{Replica: logReplica, From: 32, To: 40})
	if got, want := segments(t, s), [][2]uint64{{16, 20}, {21, 22}, {24, 24}, {26, 31}}; !slices.Equal(got, want) {
		t.Errorf("segments %v, want %v", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	commitLog(t, s, logEntries(34, 35, 5))
	if got, want := seqs(t, s, 0, 99), []uint64{16, 17, 18, 19, 20, 21, 22, 24, 26, 27, 28, 29, 30, 31, 34, 35}; !slices.Equal(got, want) {
		t.Errorf("the log has %v, want %v", got, want)
	}
	if _, ok, err := s.LogChain(crdt.Dot{Replica: logReplica, Seq: 23}); ok || err != nil {
		t.Errorf("the chain of an entry that was cut off: %t, %v", ok, err)
	}
	if chain, ok, err := s.LogChain(crdt.Dot{Replica: logReplica, Seq: 30}); !ok || err != nil || chain[1] != 30 {
		t.Errorf("the chain of entry 30: %x, %t, %v", chain, ok, err)
	}
}

// A segment is read back as it was written, or not at all.
func FuzzSegment(f *testing.F) {
	seed := func(puts []store.LogPut) {
		seg := segment{logReplica, puts[0].Dot.Seq, puts[len(puts)-1].Dot.Seq}
		var value []byte
		for i := range puts {
			value = appendEntry(value, &puts[i])
		}
		f.Add(appendSegmentKey(nil, seg), value)
	}
	seed(logEntries(1, 1, 1))
	seed(logEntries(7, 9, 200))
	f.Add(appendSegmentKey(nil, segment{logReplica, 5, 5}), bytes.Repeat([]byte{0xff}, 40))
	f.Add([]byte("l"), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		seg, err := parseSegment(key)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		for e, err := range seg.entries(value) {
			if err != nil {
				if !errors.Is(err, store.ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			again = appendEntry(again, (*store.LogPut)(&e))
		}
		if got := appendSegmentKey(nil, seg); !bytes.Equal(got[1:], key[1:]) {
			t.Errorf("key %x became %x", key, got)
		}
		n := 0
		for _, err := range seg.entries(again) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if uint64(n) != seg.last-seg.first+1 || len(again) > len(value) {
			t.Errorf("%d entries of %v in %d bytes, %d before", n, seg, len(again), len(value))
		}
	})
}
