package wire_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/transport/wire"
)

// What is packed is read as what it was, in its place among the others, on every
// link, whether its frame was made there or on another.
func TestPackedIsReadAsTheMessage(t *testing.T) {
	comp := newCompressor(t)
	large := wire.Changes{Changes: [][]byte{bytes.Repeat([]byte("meridian "), 1000)}}
	small := wire.Changes{Changes: [][]byte{[]byte("x")}}
	for name, above := range map[string]int{"compressed": 4 << 10, "small enough for one frame": 64 << 10, "not compressed": -1} {
		t.Run(name, func(t *testing.T) {
			batch := []wire.Message{
				samples["ack"], wire.Pack(small), wire.Pack(large), samples["request"], samples["ack"], wire.Pack(large), wire.Pack(large),
			}
			want := []wire.Message{samples["ack"], small, large, samples["request"], samples["ack"], large, large}
			got := make([][]byte, 4)
			var wg sync.WaitGroup
			for i := range got {
				wg.Go(func() { got[i] = wire.NewEncoder(comp, above).AppendFrames(nil, batch...) })
			}
			wg.Wait()
			for _, b := range got {
				if d := cmp.Diff(want, readAll(t, comp, b), sameVector); d != "" {
					t.Fatal(d)
				}
				if !bytes.Equal(b, got[0]) {
					t.Error("two links are sent other bytes")
				}
			}
		})
	}
}

// A second link takes the frame that the first has made.
func TestPackedIsEncodedOnce(t *testing.T) {
	comp := newCompressor(t)
	m := wire.Changes{Changes: [][]byte{bytes.Repeat([]byte("meridian "), 1000)}}
	packed := wire.Pack(m)
	b := wire.NewEncoder(comp, 4<<10).AppendFrames(nil, packed)
	copy(m.Changes[0], "changed since")
	if again := wire.NewEncoder(comp, 4<<10).AppendFrames(nil, packed); !bytes.Equal(again, b) {
		t.Error("it was encoded again")
	}
}

func TestPackedKeepsBounds(t *testing.T) {
	m := wire.Changes{Changes: make([][]byte, wire.MaxChanges+1)}
	if wire.Check(m) == nil || wire.Check(wire.Pack(m)) == nil {
		t.Error("too many changes pass")
	}
	if wire.Check(wire.Pack(samples["changes"])) != nil || wire.Size(wire.Pack(m)) != wire.Size(m) {
		t.Error("packed it is something else")
	}
}
