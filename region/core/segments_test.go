package core

import (
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A document leaves out what the segment contains that it was copied in, and one that was
// kept nothing of what the log brings.
func TestI12_DocumentsHoldWhatTheirSegmentsContain(t *testing.T) {
	dot := func(seq uint64) crdt.Dot { return crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: seq} }
	key := func(collection uint64) store.DocKey { return store.DocKey{Collection: dot(collection), ID: "x"} }
	b := bootstrap{
		phase: bootReplaying, base: crdt.VectorOf(dot(9)),
		segments: []segment{{store.DocKey{}, crdt.VectorOf(dot(9))}, {key(2), crdt.VectorOf(dot(11))}},
		stay:     []kept{{collection: dot(4), have: crdt.VectorOf(dot(5))}},
	}
	for _, c := range []struct {
		collection, seq uint64
		want            bool
	}{{1, 10, false}, {3, 10, true}, {3, 12, false}, {4, 10, false}, {5, 10, true}} {
		if got := b.holds(key(c.collection), dot(c.seq)); got != c.want {
			t.Errorf("documents of collection %d contain change %d: %v", c.collection, c.seq, got)
		}
	}
}
