package automerge_test

import (
	"bytes"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/value"
)

// newest is a policy that shows the last version in canonical order.
func newest(c crdt.Conflict) crdt.Outcome {
	return crdt.Outcome{Shown: len(c.Versions) - 1, Reason: "newest"}
}

// A site is a region with one document.
type site struct {
	t    testing.TB
	id   crdt.ReplicaID
	have crdt.Vector
	s    *automerge.State
	l    crdt.Limits
}

func newSite(t testing.TB, i int) *site {
	return &site{t: t, id: causaltest.ReplicaID(i), s: automerge.New(), l: crdt.DefaultLimits}
}

// sites returns n regions that all have the document.
func sites(t testing.TB, n int, json string) []*site {
	out := []*site{newSite(t, 0)}
	w := out[0].put(json)
	for i := 1; i < n; i++ {
		p := newSite(t, i)
		p.receive(w)
		out = append(out, p)
	}
	return out
}

type stateT = *automerge.State

type write struct {
	crdt.Header
	crdt.Mutation
}

func (p *site) edit(e crdt.Edit) write {
	p.t.Helper()
	w, err := p.try(e)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

// clock makes each stamp greater than those before, wherever they were made.
var clock = 0

func (p *site) try(e crdt.Edit) (write, error) {
	p.t.Helper()
	clock++
	hd := crdt.Header{
		Dot:   crdt.Dot{Replica: p.id, Seq: p.have.Get(p.id) + 1},
		Stamp: crdt.Stamp(clock) << 16,
		Deps:  p.have,
	}
	e.Collection, e.ID = crdt.Dot{Replica: causaltest.ReplicaID(99), Seq: 1}, "d"
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

func (p *site) put(json string) write {
	p.t.Helper()
	return p.edit(crdt.Edit{Kind: crdt.EditPut, Value: parse(json)})
}

func (p *site) ops(json string) write {
	p.t.Helper()
	return p.edit(ops(json))
}

func (p *site) show() string {
	v := p.s.View(newest)
	if !v.Exists {
		return "none"
	}
	return plain(v.Value)
}

// expect checks what the sites show, and that they are equal.
func expect(t testing.TB, want string, ps ...*site) {
	t.Helper()
	for _, p := range ps {
		if got := p.show(); got != want {
			t.Errorf("site %v shows %s, want %s", p.id, got, want)
		}
		if p.s.Digest() != ps[0].s.Digest() {
			t.Errorf("digests differ")
		}
		b, err := p.s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := automerge.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if c, _ := again.AppendBinary(nil); !bytes.Equal(b, c) || again.Digest() != p.s.Digest() {
			t.Errorf("it is not the same when it is read again")
		}
	}
}

func parse(json string) any {
	v, err := value.Parse([]byte(json), value.Limits{})
	if err != nil {
		panic(err)
	}
	return v
}

func ops(json string) crdt.Edit {
	o, err := value.ParseOps([]byte(json), value.Limits{})
	if err != nil {
		panic(err)
	}
	return crdt.Edit{Kind: crdt.EditOps, Ops: o}
}

func jsonPatch(json string) crdt.Edit {
	o, err := value.ParseJSONPatch([]byte(json), value.Limits{})
	if err != nil {
		panic(err)
	}
	return crdt.Edit{Kind: crdt.EditJSONPatch, Ops: o}
}

func plain(v any) string { return string(value.Append(nil, v, value.Options{})) }
func typed(v any) string { return string(value.Append(nil, v, value.Options{Types: true})) }
