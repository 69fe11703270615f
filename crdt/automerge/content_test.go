package automerge

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/crdt/value"
)

var update = flag.Bool("update", false, "write the golden files anew")

func replica(i byte) crdt.ReplicaID { return crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80, 15: i} }

// writer makes changes at one replica.
type writer struct {
	t    *testing.T
	id   crdt.ReplicaID
	have crdt.Vector
	s    *State
}

func newWriter(t *testing.T, i byte) *writer { return &writer{t: t, id: replica(i), s: New()} }

func (w *writer) edit(e crdt.Edit) (crdt.Header, crdt.Mutation) {
	w.t.Helper()
	hd := crdt.Header{Dot: crdt.Dot{Replica: w.id, Seq: w.have.Get(w.id) + 1}, Deps: w.have}
	hd.Stamp = max(w.s.heads.MaxStamp()+1, crdt.Stamp(1_700_000_000_000)<<16+crdt.Stamp(hd.Dot.Seq)<<20)
	e.Collection, e.ID = crdt.Dot{Replica: replica(9), Seq: 1}, "d"
	m, err := w.s.Prepare(e, hd, nil, crdt.DefaultLimits)
	if err != nil {
		w.t.Fatal(err)
	}
	w.apply(hd, m)
	return hd, m
}

func (w *writer) apply(hd crdt.Header, m crdt.Mutation) {
	w.t.Helper()
	if err := w.s.Apply(hd, m); err != nil {
		w.t.Fatal(err)
	}
	w.have = w.have.With(hd.Dot)
}

func put(m map[string]any) crdt.Edit { return crdt.Edit{Kind: crdt.EditPut, Value: m} }

func TestASnapshotThatDoesNotLoadReplacesNoTail(t *testing.T) {
	w := newWriter(t, 1)
	w.edit(put(map[string]any{"text": strings.Repeat("tail ", minTail)}))
	if len(w.s.live.snapshot) == 0 || len(w.s.live.tail) > 0 {
		t.Fatalf("a long tail is not compacted: %d bytes", len(w.s.live.tail))
	}
	c := w.s.live.clone()
	other, err := lib.New()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Free()
	c.snapshot, c.tail = nil, slices.Repeat([]byte("x"), 2*minTail)
	c.compact(other) // what this saves does not have c's heads
	if len(c.tail) != 2*minTail || c.snapshot != nil || c.failed == 0 {
		t.Errorf("the tail is gone: %d bytes are left", len(c.tail))
	}
	c.tail = append(c.tail, 1)
	c.failed = 0
	c.compact(other)
	if c.failed != 2*minTail+1 {
		t.Errorf("the next try is due at %d bytes", c.failed)
	}
}

func TestActorsAreNotUsedForTwoHistories(t *testing.T) {
	w := newWriter(t, 1)
	actors := func() (out []string) {
		for _, l := range w.s.live.log {
			out = append(out, l.actor)
		}
		return out
	}
	w.edit(put(map[string]any{"a": "x"}))
	w.edit(put(map[string]any{"a": "y"}))
	first := actors()
	if len(first) != 1 || w.s.live.length(first[0]) != 2 {
		t.Fatalf("%x", first)
	}
	w.edit(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins})
	w.edit(put(map[string]any{"a": "x"}))
	if second := actors(); len(second) != 1 || second[0] == first[0] {
		t.Fatalf("after a new beginning: %x, before %x", second, first)
	}
	base := w.s.Clone()
	w.edit(put(map[string]any{"a": "z"}))
	e := put(map[string]any{"a": "x", "b": "1"})
	e.Base = base
	w.edit(e)
	if third := actors(); len(third) != 2 {
		t.Errorf("a write on an older version: %x", third)
	}
}

func TestAChangeThatTwoRegionsTookIsOne(t *testing.T) {
	a, b := newWriter(t, 1), newWriter(t, 2)
	b.apply(a.edit(put(map[string]any{"text": "shared"})))
	saved, err := a.s.Export()
	if err != nil {
		t.Fatal(err)
	}
	d, err := lib.Load(saved)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	if err := d.SetActor([]byte("a client")); err != nil {
		t.Fatal(err)
	}
	if err := d.PutScalar(lib.Place{Key: "n"}, lib.Int, 1, 0); err != nil {
		t.Fatal(err)
	}
	raw, err := d.Commit(1)
	if err != nil {
		t.Fatal(err)
	}
	e := crdt.Edit{Kind: crdt.EditImport, Raw: raw}
	h1, m1 := a.edit(e)
	h2, m2 := b.edit(e)
	a.apply(h2, m2)
	b.apply(h1, m1)
	if a.s.Digest() != b.s.Digest() || a.s.live.changes() != 2 {
		t.Errorf("%d changes", a.s.live.changes())
	}
	if cs := a.s.live.entry("a client", 1).carriers; len(cs) != 2 {
		t.Errorf("carriers %v", cs)
	}
	if _, m := a.edit(e); len(m.Payload) != 2 {
		t.Errorf("what is known takes %d bytes", len(m.Payload))
	}
	// What depends on changes that are not there is refused, by name.
	if err := d.PutScalar(lib.Place{Key: "n"}, lib.Int, 2, 0); err != nil {
		t.Fatal(err)
	}
	raw, err = d.Commit(2)
	if err != nil {
		t.Fatal(err)
	}
	_, err = New().Prepare(crdt.Edit{Kind: crdt.EditImport, Raw: raw}, crdt.Header{Dot: crdt.Dot{Replica: a.id, Seq: 99}}, nil, crdt.DefaultLimits)
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
}

func TestCorruptMutations(t *testing.T) {
	w := newWriter(t, 1)
	hd, m := w.edit(put(map[string]any{"text": "x"}))
	enc, _ := w.s.AppendBinary(nil)
	for name, p := range map[string][]byte{
		"nothing": nil, "format": {9}, "count": {1, 5}, "chunk": {1, 1, 3, 1, 2, 3}, "trailing": append(slices.Clone(m.Payload), 0),
		"flipped": func() []byte { b := slices.Clone(m.Payload); b[len(b)-1] ^= 1; return b }(),
	} {
		hd := hd
		hd.Dot.Seq, hd.Deps = 2, w.have
		err := w.s.Apply(hd, crdt.Mutation{Type: crdt.TypeAutomerge, Payload: p})
		if err == nil {
			t.Errorf("%s is applied", name)
		}
		if again, _ := w.s.AppendBinary(nil); !bytes.Equal(enc, again) {
			t.Errorf("%s changes the state", name)
		}
	}
	// A change whose dependencies nobody has.
	_, other := w.edit(put(map[string]any{"text": "xy"}))
	if err := New().Apply(hd, crdt.Mutation{Type: crdt.TypeAutomerge, Fresh: true, Payload: other.Payload}); err == nil {
		t.Error("a change without its dependencies is applied")
	}
	if err := w.s.Apply(hd, crdt.Mutation{Type: crdt.TypeRegister}); err == nil {
		t.Error("another type's mutation is applied")
	}
}

func TestGolden(t *testing.T) {
	w, x := newWriter(t, 1), newWriter(t, 2)
	h1, m1 := w.edit(put(map[string]any{"text": "héllo", "n": int64(1), "c": value.Counter(2), "l": []any{nil, true, 0.5}}))
	x.apply(h1, m1)
	h2, m2 := x.edit(put(map[string]any{"text": "hello"}))
	w.edit(put(map[string]any{"text": "héllo!"}))
	w.edit(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins})
	w.edit(put(map[string]any{"text": "again"}))
	w.apply(h2, m2)
	state, err := w.s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"payload": m1.Payload, "state": state} {
		file := filepath.Join("testdata", name+".golden")
		got := hex.EncodeToString(b) + "\n"
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the %s is written otherwise than before: old stores and peers", name)
		}
	}
	s, err := Decode(state)
	if err != nil || s.Digest() != w.s.Digest() {
		t.Errorf("the golden state: %v", err)
	}
}

func TestDamagedStatesAreNoticed(t *testing.T) {
	w := newWriter(t, 1)
	w.edit(put(map[string]any{"text": "some text"}))
	w.edit(put(map[string]any{"text": "some other text"}))
	enc, _ := w.s.AppendBinary(nil)
	SetMemoryBudget(0)
	defer SetMemoryBudget(DefaultMemoryBudget)
	undone := 0
	for i := range enc {
		for _, b := range [][]byte{enc[:i], append(slices.Clone(enc[:i]), append([]byte{enc[i] ^ 0x55}, enc[i+1:]...)...)} {
			s, err := Decode(b)
			if err != nil {
				continue
			}
			undone++
			s.View(nil) // must not fail
		}
	}
	// The dots, stamps and era have no redundancy; what Automerge holds has.
	if undone > 120 {
		t.Errorf("%d of %d damages go unnoticed", undone, 2*len(enc))
	}
}

func TestThePoolIsBoundedAndShared(t *testing.T) {
	SetMemoryBudget(0)
	SetMemoryBudget(5 * memoryDoc)
	defer SetMemoryBudget(DefaultMemoryBudget)
	var wg sync.WaitGroup
	for i := range byte(4) {
		wg.Go(func() {
			w := newWriter(t, i)
			for k := range 50 {
				w.edit(put(map[string]any{"text": strings.Repeat("x", k%7), "i": int64(i)}))
				if used, _ := MemoryInUse(); used > 5*memoryDoc {
					t.Errorf("%d bytes in use", used)
				}
				if v := w.s.View(nil).Value.(map[string]any); v["i"] != int64(i) {
					t.Errorf("%v", v)
				}
			}
		})
	}
	wg.Wait()
	SetMemoryBudget(0)
	if used, n := MemoryInUse(); used != 0 || n != 0 {
		t.Errorf("%d bytes, %d documents are left", used, n)
	}
}

func TestCheckImport(t *testing.T) {
	w := newWriter(t, 1)
	_, m := w.edit(put(map[string]any{"text": "x"}))
	cs, err := decodePayload(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckImport(cs[0].Raw); err != nil {
		t.Error(err)
	}
	if err := CheckImport(cs[0].Raw[1:]); err == nil {
		t.Error("half a change is taken")
	}
	c := *cs[0]
	c.Ops = []validate.Op{{InMap: true, Key: "$text"}}
	if err := checkKeys(&c); err == nil {
		t.Error("a reserved name is taken")
	}
}
