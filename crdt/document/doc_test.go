package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/value"
)

// A site is a replica for tests that spell out what happens.
type site struct {
	t     testing.TB
	id    crdt.ReplicaID
	doc   *Doc
	have  crdt.Vector
	clock *crdt.Clock
	wall  time.Time
	lim   crdt.Limits
}

// sites returns n replicas. Their clocks differ, so that stamps tell who is who:
// later ones write later.
func sites(t testing.TB, n int) []*site {
	out := make([]*site, n)
	for i := range out {
		out[i] = &site{t: t, id: causaltest.ReplicaID(i), doc: New(), clock: crdt.NewClock(time.Hour, 0),
			wall: time.UnixMilli(1_700_000_000_000 + int64(i)), lim: crdt.DefaultLimits}
	}
	return out
}

func parse(t testing.TB, s string) any {
	t.Helper()
	v, err := value.Parse([]byte(s), value.DefaultLimits)
	if err != nil {
		t.Fatalf("parse %s: %v", s, err)
	}
	return v
}

func text(v any) string { return string(value.Append(nil, v, value.Options{Types: true})) }

func (s *site) header() crdt.Header {
	return crdt.Header{
		Dot:   crdt.Dot{Replica: s.id, Seq: s.have.Get(s.id) + 1},
		Stamp: s.clock.Next(s.wall, s.doc.Heads().MaxStamp()),
		Deps:  s.have,
	}
}

func (s *site) try(e crdt.Edit) (*crdt.Change, error) {
	s.t.Helper()
	hd := s.header()
	before, _ := s.doc.AppendBinary(nil)
	m, err := s.doc.Prepare(e, hd, nil, s.lim)
	if after, _ := s.doc.AppendBinary(nil); !slices.Equal(before, after) {
		s.t.Fatalf("Prepare changed the state")
	}
	if err != nil {
		return nil, err
	}
	c := &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}}
	s.apply(c)
	return c, nil
}

func (s *site) edit(e crdt.Edit) *crdt.Change {
	s.t.Helper()
	c, err := s.try(e)
	if err != nil {
		s.t.Fatalf("edit: %v", err)
	}
	return c
}

func (s *site) apply(cs ...*crdt.Change) {
	s.t.Helper()
	for _, c := range cs {
		if s.have.Contains(c.Dot) {
			continue
		}
		if err := s.doc.Apply(c.Header, c.Mutations[0]); err != nil {
			s.t.Fatalf("apply %v: %v", c.Dot, err)
		}
		if err := check(s.doc); err != nil {
			s.t.Fatalf("after %v: %v", c.Dot, err)
		}
		s.have = s.have.With(c.Dot)
		s.clock.Observe(s.wall, c.Stamp)
	}
}

func (s *site) put(v string) *crdt.Change {
	s.t.Helper()
	return s.edit(crdt.Edit{Kind: crdt.EditPut, Value: parse(s.t, v)})
}

func (s *site) merge(v string) *crdt.Change {
	s.t.Helper()
	return s.edit(crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(s.t, v)})
}

func (s *site) patch(ops string) *crdt.Change {
	s.t.Helper()
	return s.edit(crdt.Edit{Kind: crdt.EditJSONPatch, Ops: jsonPatch(s.t, ops)})
}

func (s *site) ops(ops string) *crdt.Change {
	s.t.Helper()
	return s.edit(crdt.Edit{Kind: crdt.EditOps, Ops: ownOps(s.t, ops)})
}

func (s *site) delete(mode crdt.DeleteMode) *crdt.Change {
	s.t.Helper()
	return s.edit(crdt.Edit{Kind: crdt.EditDelete, Mode: mode})
}

func jsonPatch(t testing.TB, ops string) []value.Op {
	t.Helper()
	p, err := value.ParseJSONPatch([]byte(ops), value.DefaultLimits)
	if err != nil {
		t.Fatalf("patch %s: %v", ops, err)
	}
	return p
}

func ownOps(t testing.TB, ops string) []value.Op {
	t.Helper()
	p, err := value.ParseOps([]byte(ops), value.DefaultLimits)
	if err != nil {
		t.Fatalf("ops %s: %v", ops, err)
	}
	return p
}

// want checks what is shown, with types.
func (s *site) want(v string) {
	s.t.Helper()
	view := s.doc.View(nil)
	if got, want := text(view.Value), text(parse(s.t, v)); got != want || !view.Exists {
		s.t.Fatalf("shows %s (exists %v), want %s", got, view.Exists, want)
	}
}

func (s *site) wantGone() {
	s.t.Helper()
	if v := s.doc.View(nil); v.Exists || v.Value != nil {
		s.t.Fatalf("shows %s, want no document", text(v.Value))
	}
}

// conflicts lists the paths in conflict with their values, oldest first.
func (s *site) conflicts() []string {
	var out []string
	for _, c := range s.doc.View(nil).Conflicts {
		var vs []string
		for _, v := range c.Versions {
			if v.Deleted {
				vs = append(vs, "deleted")
			} else {
				vs = append(vs, text(v.Value))
			}
		}
		out = append(out, fmt.Sprintf("%s: %s", c.Path, strings.Join(vs, " | ")))
	}
	return out
}

func (s *site) wantConflicts(want ...string) {
	s.t.Helper()
	if d := cmp.Diff(want, s.conflicts()); d != "" {
		s.t.Fatalf("conflicts (-want +got):\n%s", d)
	}
}

// converge delivers all changes everywhere and checks that all is equal.
func converge(t testing.TB, ss []*site, cs ...*crdt.Change) {
	t.Helper()
	for _, s := range ss {
		s.apply(cs...)
	}
	for _, s := range ss[1:] {
		if s.doc.Digest() != ss[0].doc.Digest() {
			t.Fatalf("digests differ:\n%s\n%s", text(ss[0].doc.View(nil).Value), text(s.doc.View(nil).Value))
		}
		if a, b := ss[0].doc.View(nil), s.doc.View(nil); text(a.Value) != text(b.Value) {
			t.Fatalf("views differ: %s and %s", text(a.Value), text(b.Value))
		}
	}
}

// start gives all sites a first document.
func start(t testing.TB, n int, v string) []*site {
	t.Helper()
	ss := sites(t, n)
	converge(t, ss, ss[0].put(v))
	return ss
}

// check looks for what must hold in every state.
func check(d *Doc) error {
	enc, err := d.AppendBinary(nil)
	if err != nil {
		return err
	}
	dec, err := Decode(enc)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	again, err := dec.AppendBinary(nil)
	if err != nil || !slices.Equal(enc, again) {
		return errors.Join(errors.New("decoded and encoded again it differs"), err)
	}
	if dec.Digest() != d.Digest() {
		return errors.New("decoded it has another digest")
	}
	return checkSlot(d.root)
}

func checkSlot(s *slot) error {
	if s.m != nil {
		for k, c := range s.m.children {
			if c.empty() {
				return fmt.Errorf("empty slot at %q", k)
			}
			if err := checkSlot(c); err != nil {
				return err
			}
		}
	}
	if s.l == nil {
		return nil
	}
	l := s.l
	count := map[bucket]int{}
	for i, n := range l.nodes {
		if n.parent >= int32(i) {
			return errors.New("a child before its parent")
		}
		count[bucket{n.parent, n.right}]++
		if (n.dead == live) != n.slot.alive() {
			return fmt.Errorf("deadness of position %d is wrong", i)
		}
		if n.slot != nil {
			if err := checkSlot(n.slot); err != nil {
				return err
			}
		}
		if k := l.position(n.id); k != int32(i) {
			return fmt.Errorf("position %d is found at %d", i, k)
		}
		if k := l.element(n.elem, -1); n.slot != nil && k != int32(i) {
			return fmt.Errorf("element at %d is found at %d", i, k)
		}
	}
	for b, n := range count {
		kid := l.rootKid
		if b.parent >= 0 {
			kid = l.nodes[b.parent].kids[side(b.right)]
		}
		all := l.several[b]
		if kid < 0 || n == 1 && all != nil || n > 1 && (len(all) != n || !slices.IsSortedFunc(all, l.compareKeys)) {
			return fmt.Errorf("the children of %v are kept wrong", b)
		}
	}
	if len(l.nodes) > 0 {
		l.sort()
		links := l.links
		l.links = nil
		if l.sort(); !slices.Equal(links, l.links) {
			return errors.New("the order that is kept is not that of the tree")
		}
	}
	return nil
}

func TestSmoke(t *testing.T) {
	ss := start(t, 2, `{"a":1,"m":{"x":1},"l":[1,2,3],"s":{"$set":["red"]},"c":{"$counter":5},"n":10,"t":{"$text":"hi"}}`)
	a, b := ss[0], ss[1]
	c1 := a.merge(`{"a":2,"m":{"y":2}}`)
	c2 := b.ops(`[{"op":"inc","path":"/c","value":2},{"op":"inc","path":"/n","value":1},{"op":"add","path":"/s","value":"blue"},{"op":"insert","path":"/l/1","value":9}]`)
	c3 := a.ops(`[{"op":"inc","path":"/n","value":5},{"op":"move","from":"/l/2","path":"/l/0"}]`)
	converge(t, ss, c1, c2, c3)
	a.want(`{"a":2,"m":{"x":1,"y":2},"l":[3,1,9,2],"s":{"$set":["red","blue"]},"c":{"$counter":7},"n":{"$counter":16},"t":{"$text":"hi"}}`)
	a.wantConflicts()
	if _, err := json.Marshal(a.doc.View(nil).Conflicts); err != nil {
		t.Fatal(err)
	}
}
