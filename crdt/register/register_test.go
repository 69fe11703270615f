package register_test

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/register"
	"github.com/meridiandb/meridian/crdt/value"
)

var update = flag.Bool("update", false, "write the golden files anew")

// newest is a policy that shows the last version in canonical order.
func newest(c crdt.Conflict) crdt.Outcome {
	return crdt.Outcome{Shown: len(c.Versions) - 1, Reason: "newest"}
}

// A site is a region with one register.
type site struct {
	t    *testing.T
	id   crdt.ReplicaID
	have crdt.Vector
	s    *register.State
	l    crdt.Limits
}

func newSite(t *testing.T, i int) *site {
	return &site{t: t, id: causaltest.ReplicaID(i), s: register.New(), l: crdt.DefaultLimits}
}

type write struct {
	crdt.Header
	crdt.Mutation
}

// edit makes a write at a time in milliseconds and applies it here.
func (p *site) edit(ms int, e crdt.Edit) write {
	p.t.Helper()
	w, err := p.try(ms, e)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

func (p *site) try(ms int, e crdt.Edit) (write, error) {
	p.t.Helper()
	hd := crdt.Header{
		Dot:   crdt.Dot{Replica: p.id, Seq: p.have.Get(p.id) + 1},
		Stamp: crdt.Stamp(ms) << 16,
		Deps:  p.have,
	}
	before, _ := p.s.AppendBinary(nil)
	m, err := p.s.Prepare(e, hd, newest, p.l)
	if after, _ := p.s.AppendBinary(nil); !bytes.Equal(before, after) {
		p.t.Fatal("Prepare changed the state")
	}
	if err != nil {
		return write{}, err
	}
	w := write{hd, m}
	p.receive(w)
	return w, nil
}

func (p *site) receive(ws ...write) {
	p.t.Helper()
	for _, w := range ws {
		if err := p.s.Apply(w.Header, w.Mutation); err != nil {
			p.t.Fatal(err)
		}
		p.have = p.have.With(w.Dot)
	}
}

func (p *site) show() string {
	v := p.s.View(newest)
	if !v.Exists {
		return "none"
	}
	return text(v.Value)
}

// all lists the versions in canonical order.
func (p *site) all() string {
	var out []string
	for _, v := range p.s.Versions() {
		if v.Deleted {
			out = append(out, "deleted")
		} else {
			out = append(out, text(v.Value))
		}
	}
	return strings.Join(out, " ")
}

func text(v any) string { return string(value.Append(nil, v, value.Options{Types: true})) }

func put(json string) crdt.Edit { return crdt.Edit{Kind: crdt.EditPut, Value: parse(json)} }

func parse(json string) any {
	v, err := value.Parse([]byte(json), value.Limits{})
	if err != nil {
		panic(err)
	}
	return v
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestWriteReplacesWhatItsWriterSaw(t *testing.T) {
	a, b := newSite(t, 0), newSite(t, 1)
	w1 := a.edit(1, put(`{"n":1}`))
	b.receive(w1)
	w2, w3 := a.edit(2, put(`{"n":2}`)), b.edit(3, put(`{"n":3}`))
	a.receive(w3)
	b.receive(w2)
	expect(t, "versions", a.all(), `{"n":2} {"n":3}`)
	expect(t, "versions", b.all(), `{"n":2} {"n":3}`)
	if a.s.Digest() != b.s.Digest() {
		t.Error("digests differ")
	}
	b.receive(a.edit(4, put(`4`)))
	expect(t, "after a write over both", b.all(), `4`)
	if c := b.s.View(newest).Conflicts; len(c) > 0 {
		t.Errorf("there is a conflict left: %v", c)
	}
}

func TestBaseMakesASiblingOfWhatCameSince(t *testing.T) {
	a := newSite(t, 0)
	a.edit(1, put(`{"n":1,"keep":true}`))
	base := a.s.Clone()
	a.edit(2, put(`{"n":2}`))
	e := crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(`{"n":3}`), Base: base}
	a.edit(3, e)
	expect(t, "versions", a.all(), `{"n":2} {"keep":true,"n":3}`)

	// The base is the present version: a plain write.
	a.edit(4, put(`4`))
	base = a.s.Clone()
	e = put(`5`)
	e.Base = base
	a.edit(5, e)
	expect(t, "versions", a.all(), `5`)
}

func TestBaseValueCoversTheVersionsThatAreEqualToIt(t *testing.T) {
	two := func(t *testing.T) *site {
		a, b := newSite(t, 0), newSite(t, 1)
		w := b.edit(1, put(`"b"`))
		a.edit(2, put(`"a"`))
		a.receive(w)
		return a
	}
	for _, c := range []struct{ base, want string }{
		{`"a"`, `"new"`},         // what is shown: like a plain write
		{`"b"`, `"a" "new"`},     // what is not shown: that one only
		{`"c"`, `"b" "a" "new"`}, // what is not there: nothing
	} {
		a := two(t)
		e := put(`"new"`)
		e.BaseValue, e.HasBaseValue = parse(c.base), true
		a.edit(9, e)
		expect(t, "on the base "+c.base, a.all(), c.want)
	}
}

func TestPatches(t *testing.T) {
	ops := func(kind crdt.EditKind, json string) crdt.Edit {
		f := value.ParseOps
		if kind == crdt.EditJSONPatch {
			f = value.ParseJSONPatch
		}
		o, err := f([]byte(json), value.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return crdt.Edit{Kind: kind, Ops: o}
	}
	const doc = `{"a":{"b":1},"l":[1,2,3]}`
	for _, c := range []struct {
		name, want string
		edit       crdt.Edit
		err        error
	}{
		{"merge", `{"a":{"b":1,"c":2}}`, crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(`{"a":{"c":2},"l":null}`)}, nil},
		{"merge typed", "", crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(`{"a":{"c":{"$counter":2}}}`)}, crdt.ErrRefused},
		{"json", `{"a":{"b":1},"l":[1,3]}`, ops(crdt.EditJSONPatch, `[{"op":"test","path":"/a/b","value":1.0},{"op":"remove","path":"/l/1"}]`), nil},
		{"json test", "", ops(crdt.EditJSONPatch, `[{"op":"test","path":"/a/b","value":2}]`), crdt.ErrConflict},
		{"json path", "", ops(crdt.EditJSONPatch, `[{"op":"remove","path":"/x"}]`), crdt.ErrConflict},
		{"set", `{"a":{"b":1,"c":2},"l":[1,7,3]}`, ops(crdt.EditOps, `[{"op":"set","path":"/a/c","value":2},{"op":"set","path":"/l/1","value":7}]`), nil},
		{"set root", `{"x":{"y":1}}`, ops(crdt.EditOps, `[{"op":"set","path":"","value":{"x":{}}},{"op":"set","path":"/x/y","value":1}]`), nil},
		{"unset", `{"a":{},"l":[1,2,3]}`, ops(crdt.EditOps, `[{"op":"unset","path":"/a/b"}]`), nil},
		{"unset missing", "", ops(crdt.EditOps, `[{"op":"unset","path":"/a/z"}]`), crdt.ErrConflict},
		{"unset element", "", ops(crdt.EditOps, `[{"op":"unset","path":"/l/0"}]`), crdt.ErrConflict},
		{"set beyond", "", ops(crdt.EditOps, `[{"op":"set","path":"/l/3","value":1}]`), crdt.ErrConflict},
		{"set in a number", "", ops(crdt.EditOps, `[{"op":"set","path":"/a/b/c","value":1}]`), crdt.ErrConflict},
		{"inc", "", ops(crdt.EditOps, `[{"op":"inc","path":"/a/b","value":1}]`), crdt.ErrRefused},
		{"insert", "", ops(crdt.EditOps, `[{"op":"insert","path":"/l/0","value":1}]`), crdt.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newSite(t, 0)
			if _, err := a.try(1, c.edit); !errors.Is(err, crdt.ErrNotFound) {
				t.Errorf("without a document: %v, want ErrNotFound", err)
			}
			a.edit(1, put(doc))
			_, err := a.try(2, c.edit)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if errors.Is(err, crdt.ErrRefused) && !strings.Contains(err.Error(), `"document"`) {
				t.Errorf("%q does not name document collections", err)
			}
			want := c.want
			if err != nil {
				want = doc
			}
			expect(t, "document", a.show(), want)
		})
	}
}

func TestRefusedEdits(t *testing.T) {
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	big := crdt.DefaultLimits
	big.Value.MaxDepth, big.State = 2000, 100
	for _, c := range []struct {
		name string
		edit crdt.Edit
		err  error
	}{
		{"typed", put(`{"a":[{"$set":[1]}]}`), crdt.ErrRefused},
		{"not a value", crdt.Edit{Kind: crdt.EditPut, Value: 1}, crdt.ErrRefused},
		{"base not a value", crdt.Edit{Kind: crdt.EditPut, BaseValue: 1, HasBaseValue: true}, crdt.ErrRefused},
		{"too deep", crdt.Edit{Kind: crdt.EditPut, Value: mustParse(deep)}, crdt.ErrRefused},
		{"too large", crdt.Edit{Kind: crdt.EditPut, Value: strings.Repeat("x", 2<<20)}, crdt.ErrTooLarge},
		{"kind", crdt.Edit{Kind: 99}, crdt.ErrRefused},
		{"delete nothing", crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins}, crdt.ErrNotFound},
		{"delete without mode", crdt.Edit{Kind: crdt.EditDelete}, crdt.ErrRefused},
		{"resolve nothing", crdt.Edit{Kind: crdt.EditResolve, Value: true}, crdt.ErrConflict},
		{"resolve what is not there", crdt.Edit{Kind: crdt.EditResolve, Covers: []crdt.Dot{{Replica: causaltest.ReplicaID(0), Seq: 1}}}, crdt.ErrConflict},
		{"resolve a field", crdt.Edit{Kind: crdt.EditResolve, Path: value.Pointer{"a"}}, crdt.ErrConflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := newSite(t, 0).try(1, c.edit); !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
		})
	}
	t.Run("state", func(t *testing.T) {
		a, b := newSite(t, 0), newSite(t, 1)
		a.l = big
		half := put(`"` + strings.Repeat("x", 60) + `"`)
		a.receive(b.edit(1, half))
		a.edit(2, half) // over the other, so there is room
		e := half
		e.BaseValue, e.HasBaseValue = nil, true
		if _, err := a.try(3, e); !errors.Is(err, crdt.ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
	})
}

// mustParse reads JSON of any depth that a test needs.
func mustParse(json string) any {
	v, err := value.Parse([]byte(json), value.Limits{MaxDepth: 10_000})
	if err != nil {
		panic(err)
	}
	return v
}

func TestDeletionYieldsToAConcurrentWrite(t *testing.T) {
	a, b := newSite(t, 0), newSite(t, 1)
	b.receive(a.edit(1, put(`1`)))
	del := a.edit(3, crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins})
	w := b.edit(2, put(`2`))
	expect(t, "deleted", a.show(), "none")
	if _, err := a.try(4, crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(`{}`)}); !errors.Is(err, crdt.ErrNotFound) {
		t.Errorf("patch of a deleted document: %v", err)
	}
	a.receive(w)
	b.receive(del)
	for _, p := range []*site{a, b} {
		v := p.s.View(func(crdt.Conflict) crdt.Outcome { panic("there is nothing to choose") })
		if !v.Exists || text(v.Value) != "2" || len(v.Conflicts) != 1 {
			t.Fatalf("view: %+v", v)
		}
		c := v.Conflicts[0]
		if c.Path != "" || len(c.Versions) != 2 || c.Shown != 0 || !c.Versions[1].Deleted || c.Reason == "" {
			t.Errorf("conflict: %+v", c)
		}
	}
	// With two writes, the policy sees those, and its choice is mapped back.
	c := newSite(t, 2)
	a.receive(c.edit(9, put(`3`)))
	v := a.s.View(func(c crdt.Conflict) crdt.Outcome {
		if len(c.Versions) != 2 {
			t.Errorf("the policy is asked about %v", c.Versions)
		}
		return crdt.Outcome{Shown: 1, Reason: "mine", Open: true}
	})
	if got := v.Conflicts[0]; text(v.Value) != "3" || got.Shown != 2 || !got.Open || len(got.Versions) != 3 {
		t.Errorf("conflict: %+v", got)
	}
	v = a.s.View(func(crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: -1, Value: "merged"} })
	if text(v.Value) != `"merged"` || v.Conflicts[0].Shown != -1 {
		t.Errorf("a policy's own value: %+v", v)
	}
	v = a.s.View(func(crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: 7} })
	if text(v.Value) != "3" || v.Conflicts[0].Shown != 2 {
		t.Errorf("a policy that chooses what is not there: %+v", v)
	}
}

func TestDeletionThatWinsSwallowsConcurrentWrites(t *testing.T) {
	a, b, c := newSite(t, 0), newSite(t, 1), newSite(t, 2)
	w1 := a.edit(1, put(`1`))
	b.receive(w1)
	c.receive(w1)
	w2 := b.edit(9, put(`2`))
	del := a.edit(3, crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteWins})
	again := a.edit(4, put(`"again"`))
	a.receive(w2)
	c.receive(w2, del, again)
	expect(t, "late write", a.show(), `"again"`)
	expect(t, "early write", c.show(), `"again"`)
	if a.s.Digest() != c.s.Digest() {
		t.Error("digests differ")
	}
}

func TestResolveCoversWhatItNames(t *testing.T) {
	three := func(t *testing.T) *site {
		a, b, c := newSite(t, 0), newSite(t, 1), newSite(t, 2)
		w, x := b.edit(1, put(`"b"`)), c.edit(2, put(`"c"`))
		a.edit(3, put(`"a"`))
		a.receive(w, x)
		return a
	}
	a := three(t)
	v := a.s.Versions()
	covers := []crdt.Dot{v[2].Dot, v[0].Dot, v[2].Dot}
	a.edit(4, crdt.Edit{Kind: crdt.EditResolve, Value: nil, Covers: covers})
	expect(t, "two of three", a.all(), `"c" null`)
	if _, err := a.try(5, crdt.Edit{Kind: crdt.EditResolve, Covers: covers}); !errors.Is(err, crdt.ErrConflict) {
		t.Errorf("again: %v", err)
	}
	a.edit(6, crdt.Edit{Kind: crdt.EditResolve, Mode: crdt.DeleteEditWins, Covers: a.s.Heads().Dots()})
	expect(t, "deleted", a.show(), "none")
}

func TestSiblingsAreBoundedForLocalWriters(t *testing.T) {
	a, b := newSite(t, 0), newSite(t, 1)
	a.l.Siblings = 3
	alone := func(json string) crdt.Edit {
		e := put(json)
		e.BaseValue, e.HasBaseValue = "nothing", true
		return e
	}
	for i := range 3 {
		a.edit(i+1, alone(`1`))
	}
	_, err := a.try(4, alone(`2`))
	if !errors.Is(err, crdt.ErrTooManySiblings) {
		t.Fatalf("error %v, want ErrTooManySiblings", err)
	}
	a.receive(b.edit(5, put(`"remote"`))) // always applied
	v := a.s.Versions()
	a.edit(6, crdt.Edit{Kind: crdt.EditResolve, Value: "one for one", Covers: []crdt.Dot{v[0].Dot}})
	a.edit(7, put(`"all"`))
	expect(t, "versions", a.all(), `"all"`)
}

func TestMoreVersionsThanOneWriteCanName(t *testing.T) {
	a, b := newSite(t, 0), newSite(t, 1)
	a.l.Siblings = crdt.MaxContext + 1
	a.l.State = 1 << 30
	for range crdt.MaxContext + 1 {
		hd := crdt.Header{Dot: crdt.Dot{Replica: b.id, Seq: a.have.Get(b.id) + 1}, Deps: crdt.VectorOf(crdt.Dot{Replica: b.id, Seq: a.have.Get(b.id)})}
		m := crdt.Mutation{Type: crdt.TypeRegister, Payload: value.AppendBinary(nil, true)}
		if err := a.s.Apply(hd, m); err != nil {
			t.Fatal(err)
		}
		a.have = a.have.With(hd.Dot)
	}
	if _, err := a.try(1, put(`1`)); !errors.Is(err, crdt.ErrTooManySiblings) {
		t.Errorf("put: %v", err)
	}
	a.edit(2, crdt.Edit{Kind: crdt.EditResolve, Value: "some", Covers: a.s.Heads().Dots()[:100]})
	a.edit(3, put(`1`))
	expect(t, "versions", a.all(), `1`)
}

func TestApplyRefusesWhatNoRegisterWrites(t *testing.T) {
	a := newSite(t, 0)
	a.edit(1, put(`1`))
	hd := crdt.Header{Dot: crdt.Dot{Replica: a.id, Seq: 2}, Deps: a.have}
	ok := value.AppendBinary(nil, int64(1))
	for name, m := range map[string]crdt.Mutation{
		"type":            {Type: crdt.TypeDocument, Payload: ok},
		"empty":           {Type: crdt.TypeRegister},
		"trailing":        {Type: crdt.TypeRegister, Payload: append(slices.Clone(ok), 0)},
		"typed":           {Type: crdt.TypeRegister, Payload: value.AppendBinary(nil, value.Counter(1))},
		"garbage":         {Type: crdt.TypeRegister, Payload: []byte{0xff}},
		"mode":            {Type: crdt.TypeRegister, Delete: 3},
		"deleted content": {Type: crdt.TypeRegister, Delete: crdt.DeleteWins, Payload: ok},
		"unseen context":  {Type: crdt.TypeRegister, Payload: ok, Context: []crdt.Dot{{Replica: a.id, Seq: 2}}},
	} {
		before, _ := a.s.AppendBinary(nil)
		err := a.s.Apply(hd, m)
		if after, _ := a.s.AppendBinary(nil); !errors.Is(err, crdt.ErrCorrupt) || !bytes.Equal(before, after) {
			t.Errorf("%s: error %v, state changed: %v", name, err, !bytes.Equal(before, after))
		}
	}
}

// editRegister draws an edit of any kind.
func editRegister(old map[causaltest.Doc][]*register.State) func(*rapid.T, causaltest.Doc, crdt.Header) (crdt.Mutation, bool) {
	return func(t *rapid.T, doc causaltest.Doc, hd crdt.Header) (crdt.Mutation, bool) {
		s := doc.(*register.State)
		e := crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": rapid.Int64Range(0, 5).Draw(t, "value")}}
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0:
			e = crdt.Edit{Kind: crdt.EditDelete, Mode: rapid.SampledFrom([]crdt.DeleteMode{crdt.DeleteEditWins, crdt.DeleteWins}).Draw(t, "mode")}
		case 1:
			e.Kind = crdt.EditMergePatch
		case 2:
			if len(old[doc]) > 0 {
				e.Base = rapid.SampledFrom(old[doc]).Draw(t, "base")
			}
		case 3:
			e.BaseValue, e.HasBaseValue = map[string]any{"n": rapid.Int64Range(0, 5).Draw(t, "base")}, true
		case 4:
			e.Kind = crdt.EditResolve
			e.Covers = slices.DeleteFunc(s.Heads().Dots(), func(crdt.Dot) bool { return rapid.Bool().Draw(t, "leave") })
			e.Mode = rapid.SampledFrom([]crdt.DeleteMode{crdt.NotDelete, crdt.NotDelete, crdt.DeleteEditWins}).Draw(t, "mode")
		}
		m, err := s.Prepare(e, hd, newest, crdt.DefaultLimits)
		for _, want := range []error{crdt.ErrNotFound, crdt.ErrConflict} {
			if errors.Is(err, want) {
				return m, false
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		old[doc] = append(old[doc], s.Clone().(*register.State))
		return m, true
	}
}

func history(t *rapid.T, trim bool) *causaltest.History {
	return causaltest.Run(t, causaltest.Settings{
		Replicas: 3, Steps: 60, Trim: trim,
		New:  func() causaltest.Doc { return register.New() },
		Edit: editRegister(map[causaltest.Doc][]*register.State{}),
	})
}

// model is what the changes leave by the definition of a register: the values
// of the changes that no other takes away, in canonical order.
func model(t *rapid.T, h *causaltest.History) (versions []crdt.Version, visible bool) {
	payloads := map[crdt.Dot][]byte{}
	for _, c := range h.Changes {
		payloads[c.Dot] = c.Mutations[0].Payload
	}
	versions = []crdt.Version{}
	for _, x := range causaltest.Heads(h.Changes) {
		v := crdt.Version{Dot: x.Dot, Stamp: x.Stamp, Deleted: x.Delete != crdt.NotDelete}
		if !v.Deleted {
			visible = true
			var err error
			if v.Value, _, err = value.DecodeBinary(payloads[x.Dot], value.Limits{}); err != nil {
				t.Fatal(err)
			}
		}
		versions = append(versions, v)
	}
	slices.SortFunc(versions, func(a, b crdt.Version) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	})
	return versions, visible
}

func encode(t *rapid.T, s *register.State) []byte {
	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := register.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := back.AppendBinary(nil)
	if !bytes.Equal(b, again) || back.Digest() != s.Digest() || gocmp.Diff(back.Versions(), s.Versions()) != "" {
		t.Fatal("a state comes back from its encoding as another one")
	}
	return b
}

func TestI05_RegisterIsTheSameInEveryCausalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := history(t, false)
		want, visible := model(t, h)
		first := h.Replay(t).(*register.State)
		for range 3 {
			s := h.Replay(t).(*register.State)
			if diff := gocmp.Diff(want, s.Versions()); diff != "" {
				t.Fatalf("versions (-model +got):\n%s\n%s", diff, h.Describe())
			}
			if s.View(newest).Exists != visible || !bytes.Equal(encode(t, s), encode(t, first)) || s.Digest() != first.Digest() {
				t.Fatalf("two orders, two states:\n%s", h.Describe())
			}
		}
	})
}

func TestI14_TrimmedRegisterGoesOnLikeUntrimmed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := history(t, true)
		untrimmed := h.Replay(t).(*register.State)
		want := untrimmed.View(newest)
		h.Settle(t)
		for range 2 {
			for _, r := range h.Replicas {
				s := r.Doc.(*register.State)
				encode(t, s)
				if s.Digest() != untrimmed.Digest() {
					t.Fatalf("digests differ:\n%s", h.Describe())
				}
				if diff := gocmp.Diff(want, s.View(newest)); diff != "" {
					t.Fatalf("view (-untrimmed +trimmed):\n%s\n%s", diff, h.Describe())
				}
			}
			h.TrimAll()
		}
		for _, r := range h.Replicas {
			if !want.Exists && r.Doc.Heads().Known() {
				t.Fatal("a deletion that is stable is remembered")
			}
		}
	})
}

func TestCloneIsIndependent(t *testing.T) {
	a := newSite(t, 0)
	a.edit(1, put(`1`))
	c := a.s.Clone()
	before := c.Digest()
	a.edit(2, put(`2`))
	if c.Digest() != before || a.s.Digest() == before {
		t.Error("a clone follows its original")
	}
}

// sample is a state with all there can be in one: siblings, a deletion beside
// them, and one that wins and has swallowed a write of a later time.
func sample(t *testing.T) *register.State {
	a, b, c, d, e := newSite(t, 0), newSite(t, 1), newSite(t, 2), newSite(t, 3), newSite(t, 4)
	late := e.edit(9_000, put(`"swallowed"`))
	first := a.edit(1_000, put(`1`))
	wins := a.edit(4_000, crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteWins})
	for _, p := range []*site{b, c, d} {
		p.receive(first, wins)
	}
	v := b.edit(5_000, put(`{"name":"Ada","born":1815,"ratio":0.5,"tags":["a",null,true]}`))
	w := c.edit(6_000, put(`{"name":"Grace"}`))
	d.receive(w)
	y := d.edit(7_000, crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins})
	c.receive(v)
	u := c.edit(8_000, crdt.Edit{Kind: crdt.EditResolve, Value: "resolved", Covers: []crdt.Dot{w.Dot}})
	a.receive(late, v, w, y, u)
	expect(t, "sample", a.all(), `{"born":1815,"name":"Ada","ratio":0.5,"tags":["a",null,true]} deleted "resolved"`)
	return a.s
}

func TestGoldenState(t *testing.T) {
	s := sample(t)
	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "state.golden")
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("the encoding changed: %x, golden %x", b, want)
	}
	back, err := register.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if back.Digest() != s.Digest() {
		t.Error("the golden state is another one")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	if b, err := os.ReadFile(filepath.Join("testdata", "state.golden")); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := register.Decode(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) {
				t.Fatalf("error %v does not wrap ErrCorrupt", err)
			}
			return
		}
		again, err := s.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x comes back as %x, %v", b, again, err)
		}
		s.View(newest)
		s.Trim(crdt.Vector{})
	})
}

func BenchmarkPut(b *testing.B) {
	doc := parse(`{"id":"0198c9a1-5f6e-7d31-a3a5-9d2f0d6a0001","name":"Ada Lovelace","tags":["a","b","c"],"n":42,"address":{"street":"1 Main","city":"London"}}`)
	s, have, id := register.New(), crdt.Vector{}, causaltest.ReplicaID(0)
	b.ReportAllocs()
	for b.Loop() {
		hd := crdt.Header{Dot: crdt.Dot{Replica: id, Seq: have.Get(id) + 1}, Deps: have}
		m, err := s.Prepare(crdt.Edit{Kind: crdt.EditPut, Value: doc}, hd, newest, crdt.DefaultLimits)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Apply(hd, m); err != nil {
			b.Fatal(err)
		}
		have = have.With(hd.Dot)
	}
}
