package crdt_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
)

// decideHeads is editHeads by writers some of whom are callbacks: they answer for
// some of the heads, or keep them.
func decideHeads(t *rapid.T, doc causaltest.Doc, hd crdt.Header) (crdt.Mutation, bool) {
	m, ok := editHeads(t, doc, hd)
	switch rapid.IntRange(0, 3).Draw(t, "decision") {
	case 0:
		m.Decision = crdt.DecisionAnswer
	case 1:
		m = crdt.Mutation{Type: m.Type, Context: m.Context, Decision: crdt.DecisionKeep}
	default:
		return m, ok
	}
	m.Collection = crdt.Dot{Replica: causaltest.ReplicaID(0), Seq: 1}
	return m, ok && hd.Deps.Contains(m.Collection) && doc.Heads().Visible() && len(m.Context) > 1
}

// view shows all heads that write as one conflict, as a register does.
func (d *headsOnly) view(resolve crdt.Resolve) crdt.View {
	c := conflictOf(&d.heads)
	if len(c.Versions) > 1 {
		d.heads.Marking(resolve)(c)
	}
	return crdt.View{Exists: d.heads.Visible()}
}

func conflictOf(h *crdt.Heads) (c crdt.Conflict) {
	for _, x := range h.All() {
		if x.Delete == crdt.NotDelete {
			c.Versions = append(c.Versions, crdt.Version{Dot: x.Dot, Stamp: x.Stamp})
		}
	}
	return c
}

// decidingHeads trims its decisions, too.
type decidingHeads struct{ headsOnly }

func (d *decidingHeads) Trims() bool { return d.heads.Trims() }

func (d *decidingHeads) Trim(stable crdt.Vector) bool {
	changed := d.heads.Trim(stable)
	return d.heads.TrimDecisions(stable, d.view, d.heads.Dots) || changed
}

// TestI05_DecisionsConverge: what was decided about the versions that stand side
// by side is the same whatever the order of the changes, and whatever was trimmed,
// saved and loaded; and a user's write among them makes it open again.
func TestI05_DecisionsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := causaltest.Run(t, causaltest.Settings{
			Replicas: 3, Steps: 60, Trim: true,
			New:  func() causaltest.Doc { return &decidingHeads{} },
			Edit: decideHeads,
		})
		h.Settle(t)
		want := crdt.Conflict{}
		for i, r := range h.Replicas {
			heads := r.Doc.Heads()
			b, err := heads.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			rd := crdt.NewReader(b)
			loaded := rd.Heads()
			if err := rd.Done(); err != nil {
				t.Fatal(err)
			}
			for _, h := range []*crdt.Heads{heads, &loaded} {
				got := []crdt.Resolved{{Conflict: conflictOf(h)}}
				h.Mark(got)
				if i == 0 {
					want = got[0].Conflict
				}
				if d := cmp.Diff(want, got[0].Conflict); d != "" {
					t.Fatalf("replica %d shows other decisions: %s", i, d)
				}
			}
		}
		if len(want.Versions) < 2 {
			return
		}
		// The definition, by the whole history.
		answers := map[crdt.Dot]bool{}
		decided := crdt.Undecided
		for _, c := range h.Changes {
			m := &c.Mutations[0]
			answers[c.Dot] = m.Decision == crdt.DecisionAnswer
		}
		if !slices.ContainsFunc(want.Versions, func(v crdt.Version) bool { return !answers[v.Dot] }) {
			decided = crdt.DecisionAnswer
		}
		for _, c := range h.Changes {
			m := &c.Mutations[0]
			if m.Decision == crdt.DecisionKeep && !slices.ContainsFunc(want.Versions, func(v crdt.Version) bool { return !slices.Contains(m.Context, v.Dot) }) {
				decided = crdt.DecisionKeep
			}
		}
		if want.Decided != decided {
			t.Fatalf("%v is decided as %v, want %v", want.Versions, want.Decided, decided)
		}
	})
}

func TestDecisionThatDoesSomethingElseIsCorrupt(t *testing.T) {
	r := causaltest.ReplicaID(0)
	hd := crdt.Header{Dot: crdt.Dot{Replica: r, Seq: 4}, Stamp: 9, Deps: crdt.VectorOf(crdt.Dot{Replica: r, Seq: 3})}
	context := []crdt.Dot{{Replica: r, Seq: 2}, {Replica: r, Seq: 3}}
	good := crdt.Mutation{Collection: crdt.Dot{Replica: r, Seq: 1}, Type: crdt.TypeRegister, ID: "d", Context: context, Decision: crdt.DecisionKeep}
	if err := good.Check(hd); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*crdt.Mutation){
		"system":  func(m *crdt.Mutation) { m.Collection = crdt.Dot{} },
		"fresh":   func(m *crdt.Mutation) { m.Fresh = true },
		"path":    func(m *crdt.Mutation) { m.Payload = make([]byte, 1<<21) },
		"delete":  func(m *crdt.Mutation) { m.Delete = crdt.DeleteEditWins },
		"one":     func(m *crdt.Mutation) { m.Context = context[:1] },
		"unknown": func(m *crdt.Mutation) { m.Decision = 3 },
	} {
		m := good
		change(&m)
		if err := m.Check(hd); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
