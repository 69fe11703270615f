package document

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
)

// A twin is a document that is trimmed beside one that is not, with all that
// they are made of. After each change it compares both with the model.
type twin struct {
	t       *rapid.T
	trimmed *Doc
	whole   *Doc
	changes []*crdt.Change
	past    []*Doc
	quick   bool // leaves the model out
}

func (w *twin) Heads() *crdt.Heads { return w.whole.Heads() }

func (w *twin) Trims() bool { return w.trimmed.Trims() }

func (w *twin) Trim(stable crdt.Vector) bool {
	before := w.trimmed.Digest()
	changed := w.trimmed.Trim(stable)
	if w.trimmed.Digest() != before {
		w.t.Fatalf("trimming changed the digest")
	}
	w.compare()
	return changed
}

func (w *twin) Apply(hd crdt.Header, m crdt.Mutation) error {
	w.past = append(w.past, w.whole.Clone().(*Doc))
	w.changes = append(w.changes, &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}})
	if err := w.trimmed.Apply(hd, m); err != nil {
		return err
	}
	if err := w.whole.Apply(hd, m); err != nil {
		return err
	}
	w.compare()
	return nil
}

func (w *twin) compare() {
	w.t.Helper()
	got := describe(w.trimmed)
	if want := describe(w.whole); got != want {
		w.t.Fatalf("trimmed shows\n%s\nuntrimmed\n%s", got, want)
	}
	if w.trimmed.Digest() != w.whole.Digest() {
		w.t.Fatalf("trimming changed the digest")
	}
	for _, d := range []*Doc{w.trimmed, w.whole} {
		if err := check(d); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.quick {
		return
	}
	if want := newModel(w.changes).describe(); got != want {
		w.t.Fatalf("shows\n%s\nby definition\n%s", got, want)
	}
}

// edit prepares an edit on both documents, which must come to the same.
func (w *twin) edit(g generator) func(t *rapid.T, doc causaltest.Doc, hd crdt.Header) (crdt.Mutation, bool) {
	return func(t *rapid.T, doc causaltest.Doc, hd crdt.Header) (crdt.Mutation, bool) {
		w := doc.(*twin)
		e := g.edit(t, w.whole, w.past)
		m, err := w.trimmed.Prepare(e, hd, nil, crdt.DefaultLimits)
		other, err2 := w.whole.Prepare(e, hd, nil, crdt.DefaultLimits)
		forgot := w.whole.Heads().Known() && !w.trimmed.Heads().Known()
		switch {
		case err != nil && !expected(err):
			t.Fatalf("%s: %v", explain(e), err)
		case forgot:
			// What is forgotten needs no naming, and nothing tells that it ever was.
		case (err == nil) != (err2 == nil):
			t.Fatalf("%s: trimmed says %v, untrimmed %v", explain(e), err, err2)
		case err == nil && (!bytes.Equal(m.Payload, other.Payload) || m.Fresh != other.Fresh):
			t.Fatalf("%s: trimmed writes\n%x\nuntrimmed\n%x", explain(e), m.Payload, other.Payload)
		}
		if err != nil {
			return crdt.Mutation{}, false
		}
		return m, true
	}
}

func history(t *rapid.T, g generator, replicas, steps int, trim bool) *causaltest.History {
	return causaltest.Run(t, causaltest.Settings{
		Replicas: replicas, Steps: steps, Trim: trim,
		New:  func() causaltest.Doc { return &twin{t: t, trimmed: New(), whole: New()} },
		Edit: (&twin{}).edit(g),
	})
}

// same fails unless all replicas hold the same.
func same(t *rapid.T, h *causaltest.History) {
	a := h.Replicas[0].Doc.(*twin)
	for _, r := range h.Replicas[1:] {
		b := r.Doc.(*twin)
		if describe(a.trimmed) != describe(b.trimmed) || a.trimmed.Digest() != b.trimmed.Digest() {
			t.Fatalf("one shows\n%s\nanother\n%s\n%s", describe(a.trimmed), describe(b.trimmed), h.Describe())
		}
	}
}

func converges(g generator) func(t *rapid.T) {
	return func(t *rapid.T) {
		h := history(t, g, rapid.IntRange(2, 4).Draw(t, "replicas"), 30, false)
		h.CheckStamps(t)
		h.Settle(t)
		same(t, h)
		// A document that sees all in yet another order.
		again := h.Replay(t).(*twin)
		if a := h.Replicas[0].Doc.(*twin); describe(a.whole) != describe(again.whole) || a.whole.Digest() != again.whole.Digest() {
			t.Fatalf("replayed it shows\n%s\ninstead of\n%s", describe(again.whole), describe(a.whole))
		}
		h.TrimAll()
		same(t, h)
	}
}

// TestModel compares documents with the model, after every change in random
// causal histories, and checks that all orders come to the same (I5).
func TestModel(t *testing.T) {
	t.Run("edits", func(t *testing.T) { rapid.Check(t, converges(generator{})) })
	t.Run("deletions", func(t *testing.T) { rapid.Check(t, converges(generator{deletes: true})) })
	t.Run("lists", func(t *testing.T) { rapid.Check(t, converges(generator{lists: true, bases: true})) })
	t.Run("bases", func(t *testing.T) { rapid.Check(t, converges(generator{bases: true, deletes: true})) })
}

// TestI14_TrimmingChangesNothing runs histories in which replicas drop what is
// stable, at random times, beside the same without: all that is shown, digests,
// and what later edits are turned into must be the same at every step.
func TestI14_TrimmingChangesNothing(t *testing.T) {
	for name, g := range map[string]generator{
		"edits": {}, "lists": {lists: true}, "lists by older versions": {lists: true, bases: true},
		"deletions": {deletes: true}, "all": {deletes: true, bases: true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := history(t, g, rapid.IntRange(2, 4).Draw(t, "replicas"), 80, true)
				h.Settle(t)
				same(t, h)
				h.TrimAll()
				same(t, h)
				for _, r := range h.Replicas {
					if d := r.Doc.(*twin).trimmed; d.garbage || d.barrier != nil {
						t.Fatal("all is stable, and something waits to be trimmed")
					}
				}
			})
		})
	}
}
