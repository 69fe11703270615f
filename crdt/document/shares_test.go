package document_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/document"
	"github.com/meridiandb/meridian/crdt/value"
)

// A region is one replica's copy of a document, and all that was done to it.
type copyOf struct {
	t    *testing.T
	id   crdt.ReplicaID
	have crdt.Vector
	doc  *document.Doc
}

type sent struct {
	hd crdt.Header
	m  crdt.Mutation
}

func (c *copyOf) do(e crdt.Edit) sent {
	c.t.Helper()
	dot := crdt.Dot{Replica: c.id, Seq: c.have.Get(c.id) + 1}
	hd := crdt.Header{Dot: dot, Stamp: crdt.Stamp(1000 + 10*dot.Seq + uint64(c.id[0])), Deps: c.have}
	m, err := c.doc.Prepare(e, hd, nil, crdt.DefaultLimits)
	if err != nil {
		c.t.Fatal(err)
	}
	s := sent{hd, m}
	c.take(s)
	return s
}

func (c *copyOf) take(all ...sent) {
	c.t.Helper()
	for _, s := range all {
		if err := c.doc.Apply(s.hd, s.m); err != nil {
			c.t.Fatal(err)
		}
		c.have = c.have.With(s.hd.Dot)
	}
}

func (c *copyOf) shares() map[crdt.ReplicaID]crdt.Share {
	s, _ := c.doc.Shares(value.Pointer{"n"})
	return s
}

func put(v map[string]any) crdt.Edit { return crdt.Edit{Kind: crdt.EditPut, Value: v} }

func inc(n int64) crdt.Edit {
	return crdt.Edit{Kind: crdt.EditOps, Ops: []value.Op{{Op: "inc", Path: value.Pointer{"n"}, Value: n}}}
}

func give(from, to crdt.ReplicaID, n int64) crdt.Edit {
	return crdt.Edit{Kind: crdt.EditOps, Transfers: []crdt.Transfer{{Path: value.Pointer{"n"}, From: from, To: to, Down: n}}}
}

func TestSharesAreNotShownAndStayThroughEdits(t *testing.T) {
	a, b := crdt.ReplicaID{1}, crdt.ReplicaID{2}
	c := &copyOf{t: t, id: a, doc: document.New()}
	c.do(put(map[string]any{"n": value.Counter(10), "x": int64(1)}))
	base := c.doc.Clone()
	c.do(give(a, b, 4))
	want := map[crdt.ReplicaID]crdt.Share{a: {Net: 10, Down: -4}, b: {Down: 4}}
	for name, e := range map[string]crdt.Edit{
		"put":       put(map[string]any{"n": value.Counter(10), "y": int64(1)}),
		"older":     {Kind: crdt.EditPut, Value: map[string]any{"n": value.Counter(10), "z": int64(2)}, Base: base},
		"with base": {Kind: crdt.EditPut, Value: map[string]any{"n": value.Counter(10), "z": int64(3)}, HasBaseValue: true, BaseValue: map[string]any{"n": value.Counter(10)}},
		"root":      {Kind: crdt.EditOps, Ops: []value.Op{{Op: "set", Value: map[string]any{"n": value.Counter(10)}}}},
		"resolve":   {Kind: crdt.EditResolve, Value: map[string]any{"n": value.Counter(10)}},
	} {
		c.do(e)
		if d := cmp.Diff(want, c.shares()); d != "" {
			t.Errorf("after %s the shares are (-want +got)\n%s", name, d)
		}
		v, _ := c.doc.View(nil).Value.(map[string]any)
		if _, shown := v["\x00shares"]; shown || v["n"] != value.Counter(10) {
			t.Errorf("after %s it shows %v", name, v)
		}
	}
	hd := crdt.Header{Dot: crdt.Dot{Replica: a, Seq: c.have.Get(a) + 1}, Stamp: 9999, Deps: c.have}
	for _, o := range []value.Op{
		{Op: "copy", From: value.Pointer{"\x00shares"}, Path: value.Pointer{"x"}},
		{Op: "move", From: value.Pointer{"\x00shares", "/n"}, Path: value.Pointer{"x"}},
		{Op: "remove", Path: value.Pointer{"\x00shares"}},
		{Op: "add", Path: value.Pointer{}, Value: map[string]any{"\x00shares": int64(1)}},
	} {
		if _, err := c.doc.Prepare(crdt.Edit{Kind: crdt.EditJSONPatch, Ops: []value.Op{o}}, hd, nil, crdt.DefaultLimits); !errors.Is(err, crdt.ErrRefused) {
			t.Errorf("%s of what is hidden: %v", o.Op, err)
		}
	}
}

// TestSharesGoAndComeBackWithTheirDocument: what was done to a counter while it
// was deleted elsewhere, and made anew, is in the new one with its shares.
func TestSharesGoAndComeBackWithTheirDocument(t *testing.T) {
	a, b, d := crdt.ReplicaID{1}, crdt.ReplicaID{2}, crdt.ReplicaID{3}
	ca := &copyOf{t: t, id: a, doc: document.New()}
	cb := &copyOf{t: t, id: b, doc: document.New()}
	first := []sent{ca.do(put(map[string]any{"n": value.Counter(10)})), ca.do(give(a, b, 4))}
	cb.take(first...)
	used := cb.do(inc(-4))
	ca.take(used)
	if s, _ := cb.doc.Shares(value.Pointer{"n"}); s[a].Net+s[a].Down != 6 || s[b].Net+s[b].Down != 0 {
		t.Errorf("the shares are %v", s)
	}
	// b adds and gives, while a deletes the document and makes it anew.
	late := []sent{cb.do(inc(5)), cb.do(give(b, d, 5))}
	deleted := ca.do(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins})
	if s := ca.shares(); len(s) > 0 {
		t.Errorf("a deleted document has the shares %v", s)
	}
	anew := ca.do(put(map[string]any{"n": value.Counter(2)}))
	ca.take(late...)
	cb.take(deleted, anew)
	want := map[crdt.ReplicaID]int64{a: 2, b: 0, d: 5}
	for _, c := range []*copyOf{ca, cb} {
		sum := int64(0)
		for id, s := range c.shares() {
			sum += s.Net
			if s.Net+s.Down != want[id] {
				t.Errorf("%x may take %d, want %d", id[:1], s.Net+s.Down, want[id])
			}
		}
		if v, _ := c.doc.View(nil).Value.(map[string]any); sum != 7 || v["n"] != value.Counter(7) {
			t.Errorf("it shows %v, the shares say %d", v, sum)
		}
	}
	// An edit that is concurrent with the deletion alone brings all of it back.
	ca = &copyOf{t: t, id: a, doc: document.New()}
	ca.take(first...)
	ca.take(used, deleted)
	if ca.take(late...); ca.shares()[a] != (crdt.Share{Net: 10, Down: -4}) || ca.shares()[d] != (crdt.Share{Down: 5}) {
		t.Errorf("brought back, the shares are %v", ca.shares())
	}
}
