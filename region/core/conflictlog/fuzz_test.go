package conflictlog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

func FuzzDecodeStanding(f *testing.F) {
	f.Add(encodeStanding([]Standing{
		{Seq: 7, ID: journal.ID{1}, Path: "/a/b", Dots: []crdt.Dot{{Replica: crdt.ReplicaID{1}, Seq: 3}, {Replica: crdt.ReplicaID{2}, Seq: 1 << 40}}},
		{},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := decodeStanding(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		enc := encodeStanding(all)
		again, err := decodeStanding(enc)
		if err != nil || !bytes.Equal(encodeStanding(again), enc) {
			t.Fatalf("%+v became %+v, %v", all, again, err)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add((&state{seq: 5, rev: 9, bytes: 1 << 20, standing: 2, last: 1 << 41}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodeState(s.encode()); err != nil || again != s {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}
