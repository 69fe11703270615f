package validate

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
)

func TestCondense(t *testing.T) {
	hs, _ := histories(t)
	for _, h := range hs {
		want := render(h.changes)
		cs := Condense(h.changes, nil, 7)
		for i, c := range cs {
			if len(c.Ops) > 7 || c.Seq != uint64(i)+1 || i < len(cs)-1 && len(c.Ops) < 7 {
				t.Errorf("%s: change %d has number %d and %d operations", h.name, i, c.Seq, len(c.Ops))
			}
		}
		one := Condense(h.changes, nil, 1<<20)
		for _, cs := range [][]*Change{cs, one} {
			if got := render(checked(t, h.name, cs)); got != want {
				t.Errorf("%s: it shows\n%s\nand is condensed to\n%s", h.name, want, got)
			}
		}
		if len(one) != 1 || len(one[0].Deps) > 0 {
			t.Errorf("%s: %d changes", h.name, len(one))
		}
		again := Condense(one, nil, 1<<20)
		if !bytes.Equal(again[0].Raw, one[0].Raw) {
			t.Errorf("%s: condensed again it is another one", h.name)
		}
		t.Logf("%s: %d changes, now %d operations", h.name, len(h.changes), len(one[0].Ops))
	}
}

func TestCondenseNothing(t *testing.T) {
	cs := checked(t, "nothing", Condense(nil, nil, 10))
	if len(cs) != 1 || len(cs[0].Ops) > 0 {
		t.Errorf("%+v", cs)
	}
}

func made(actor string, seq, start uint64, deps []*Change, ops ...Op) *Change {
	c := &Change{Actors: []string{actor}, Seq: seq, StartOp: start, Ops: ops}
	for _, d := range deps {
		c.Deps = append(c.Deps, d.Hash)
		if d.Actor() != actor {
			c.Actors = append(c.Actors, d.Actor())
		}
	}
	slices.SortFunc(c.Deps, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	c.Raw, c.Hash = sealChunk(chunkChange, c.encode())
	return c
}

func set(typ uint8, v string) Op {
	return Op{Key: "k", InMap: true, Action: Set, Type: typ, Value: []byte(v)}
}

// The later one of two concurrent values is shown, unless the other is named.
func TestCondenseShows(t *testing.T) {
	both := []*Change{made("b", 1, 1, nil, set(valText, "great")), made("a", 1, 1, nil, set(valText, "small"))}
	for _, c := range []struct{ shown, want string }{{"", "great"}, {"a", "small"}, {"b", "great"}} {
		cs := Condense(both, func(actor string, ctr uint64) bool { return ctr == 1 && actor == c.shown }, 10)
		if len(cs[0].Ops) != 1 || string(cs[0].Ops[0].Value) != c.want {
			t.Errorf("%q: %+v", c.shown, cs[0].Ops)
		}
	}
}

// An increment of a counter goes over what else is in its place.
func TestCondenseCounterBesideAnotherValue(t *testing.T) {
	counter, text := made("aa", 1, 1, nil, set(valCounter, "\x05")), made("bb", 1, 1, nil, set(valText, "x"))
	inc := set(valInt, "\x03")
	inc.Action, inc.Pred = Increment, []OpID{{1, 0}, {1, 1}}
	history := []*Change{counter, text, made("aa", 2, 2, []*Change{counter, text}, inc)}
	d, err := lib.New()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	for _, c := range history {
		if err := d.Apply(c.Raw); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := d.Children(lib.Object{}, lib.Map, true)
	if err != nil || len(entries) != 1 || len(entries[0].Items) != 1 || entries[0].Items[0].Int != 8 {
		t.Fatalf("the library shows %+v, %v", entries, err)
	}
	if ops := checked(t, "counter", Condense(history, nil, 10))[0].Ops; len(ops) != 1 || ops[0].Type != valCounter || string(ops[0].Value) != "\x08" {
		t.Errorf("%+v", ops)
	}
}

// A mark of text that was deleted is left out.
func TestCondenseMarksOfNothing(t *testing.T) {
	text := Op{Key: "k", InMap: true, Action: MakeText}
	char := func(after uint64, c string) Op {
		return Op{Obj: OpID{Ctr: 1}, Elem: OpID{Ctr: after}, Insert: true, Action: Set, Type: valText, Value: []byte(c)}
	}
	mark := func(after uint64, name string) Op {
		return Op{Obj: OpID{Ctr: 1}, Elem: OpID{Ctr: after}, Insert: true, Action: Mark, HasMark: name != "", Mark: name}
	}
	typed := made("aa", 1, 1, nil, text, char(0, "a"), char(2, "b"), mark(2, "bold"), mark(3, ""))
	deleted := made("aa", 2, 6, []*Change{typed}, Op{Obj: OpID{Ctr: 1}, Elem: OpID{Ctr: 3}, Action: Delete, Pred: []OpID{{Ctr: 3}}})
	for _, c := range []struct {
		history []*Change
		want    int
	}{{[]*Change{typed}, 5}, {[]*Change{typed, deleted}, 2}} {
		if ops := checked(t, "marks", Condense(c.history, nil, 10))[0].Ops; len(ops) != c.want {
			t.Errorf("%d changes are condensed to %+v", len(c.history), ops)
		}
	}
}

// checked takes changes the way that what a client sends takes, into the library
// and back.
func checked(t *testing.T, name string, cs []*Change) (out []*Change) {
	t.Helper()
	x := NewIndex(Limits{})
	var raw []byte
	for _, c := range cs {
		raw = append(raw, c.Raw...)
		p, err := ParseChange(c.Raw, Limits{})
		if err == nil {
			err = x.Add(p)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	d, err := lib.New()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	if err := d.Apply(raw); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	saved, err := d.Save()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if out, err = Parse(saved, Limits{}); err != nil || out[len(out)-1].Hash != cs[len(cs)-1].Hash {
		t.Fatalf("%s: what the library saved: %v", name, err)
	}
	return out
}

// A model is what operations make, worked out one after the other.
type model struct {
	actors []string
	cells  map[string][]*cell // by object and key
	lists  map[string][]*cell // the insertions of a list, in their places
	byID   map[string]*cell
}

type cell struct {
	ctr   uint64
	actor string
	op    *Op
	elem  *cell // that it is a value of
	gone  bool
	sum   int64
}

func (c *cell) id() string { return fmt.Sprint(c.ctr, "@", c.actor) }

func (c *cell) later(o *cell) bool { return c.ctr > o.ctr || c.ctr == o.ctr && c.actor > o.actor }

// render shows what a history shows, with the marks of each character.
func render(cs []*Change) string {
	m := &model{cells: map[string][]*cell{}, lists: map[string][]*cell{}, byID: map[string]*cell{}}
	for _, c := range cs {
		m.actors = c.Actors
		for i := range c.Ops {
			m.apply(&cell{ctr: c.StartOp + uint64(i), actor: c.Actor(), op: &c.Ops[i]})
		}
	}
	return m.object("", MakeMap)
}

func (m *model) name(id OpID) string {
	if id.Ctr == 0 {
		return ""
	}
	return fmt.Sprint(id.Ctr, "@", m.actors[id.Actor])
}

func (m *model) apply(c *cell) {
	for _, p := range c.op.Pred {
		k := m.byID[m.name(p)]
		if c.op.Action == Increment && k.op.Type == valCounter {
			k.sum += (&reader{b: c.op.Value}).sleb()
		} else {
			k.gone = true
		}
	}
	obj := m.name(c.op.Obj)
	m.byID[c.id()] = c
	switch {
	case c.op.Action == Delete || c.op.Action == Increment:
	case c.op.InMap:
		m.cells[obj+" "+c.op.Key] = append(m.cells[obj+" "+c.op.Key], c)
	case !c.op.Insert:
		c.elem = m.byID[m.name(c.op.Elem)]
		m.cells[c.elem.id()] = append(m.cells[c.elem.id()], c)
	default:
		l := m.lists[obj]
		i := 0
		if c.op.Elem.Ctr > 0 {
			i = slices.Index(l, m.byID[m.name(c.op.Elem)]) + 1
		}
		for i < len(l) && l[i].later(c) {
			i++
		}
		m.lists[obj] = slices.Insert(l, i, c)
		m.cells[c.id()] = append(m.cells[c.id()], c)
	}
}

func (m *model) shown(place string) (out *cell) {
	for _, c := range m.cells[place] {
		if !c.gone && c.op.Action != Mark && (out == nil || c.later(out)) {
			out = c
		}
	}
	return out
}

func (m *model) value(c *cell) string {
	switch {
	case c.op.Action.Makes():
		return fmt.Sprint(c.op.Action, m.object(c.id(), c.op.Action))
	case c.op.Type == valCounter:
		return fmt.Sprint("counter ", (&reader{b: c.op.Value}).sleb()+c.sum)
	}
	return fmt.Sprintf("%d:%q", c.op.Type, c.op.Value)
}

func (m *model) object(id string, kind Action) string {
	out := "{"
	if kind == MakeMap || kind == MakeTable {
		for _, place := range slices.Sorted(maps.Keys(m.cells)) {
			key, ok := cutPlace(place, id)
			if c := m.shown(place); ok && c != nil {
				out += fmt.Sprintf("%q=%s ", key, m.value(c))
			}
		}
		return out + "}"
	}
	open := map[string]*cell{} // marks, by the operation that ends them
	for _, c := range m.lists[id] {
		switch v := m.shown(c.id()); {
		case c.op.Action == Mark && c.op.HasMark:
			open[fmt.Sprint(c.ctr+1, "@", c.actor)] = c
		case c.op.Action == Mark:
			delete(open, c.id())
		case v != nil:
			out += m.value(v) + formatting(open) + " "
		}
	}
	return out + "}"
}

func cutPlace(place, id string) (string, bool) {
	if len(place) > len(id) && place[:len(id)] == id && place[len(id)] == ' ' {
		return place[len(id)+1:], true
	}
	return "", false
}

func formatting(open map[string]*cell) (out string) {
	marks := map[string]*cell{}
	for _, c := range open {
		if o := marks[c.op.Mark]; o == nil || c.later(o) {
			marks[c.op.Mark] = c
		}
	}
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		if c := marks[name]; c.op.Type != valNull {
			out += fmt.Sprintf("[%s %d %q %v]", name, c.op.Type, c.op.Value, c.op.Expand)
		}
	}
	return out
}
