package crdt_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
)

// headsOnly is a document that has no content.
type headsOnly struct{ heads crdt.Heads }

func (d *headsOnly) Heads() *crdt.Heads { return &d.heads }
func (d *headsOnly) Trims() bool        { return d.heads.Trims() }

func (d *headsOnly) Trim(stable crdt.Vector) bool { return d.heads.Trim(stable) }

func (d *headsOnly) Apply(hd crdt.Header, m crdt.Mutation) error {
	d.heads.Apply(hd, m)
	return nil
}

// editHeads draws a write, with all present heads or some of them as its context,
// or a deletion, as the contract of State.Prepare has them.
func editHeads(t *rapid.T, doc causaltest.Doc, _ crdt.Header) (crdt.Mutation, bool) {
	heads := doc.Heads()
	m := crdt.Mutation{Type: crdt.TypeRegister, Context: heads.Dots(), Fresh: !heads.Visible()}
	m.Delete = rapid.SampledFrom([]crdt.DeleteMode{
		crdt.NotDelete, crdt.NotDelete, crdt.NotDelete, crdt.DeleteEditWins, crdt.DeleteWins,
	}).Draw(t, "mode")
	if rapid.IntRange(0, 2).Draw(t, "partial") == 0 {
		m.Context = slices.DeleteFunc(m.Context, func(crdt.Dot) bool { return rapid.Bool().Draw(t, "unseen") })
	}
	if m.Delete != crdt.NotDelete {
		m.Fresh = false
	}
	return m, m.Delete == crdt.NotDelete || heads.Visible()
}

func headsHistory(t *rapid.T, trim bool) *causaltest.History {
	return causaltest.Run(t, causaltest.Settings{
		Replicas: 3, Steps: 60, Trim: trim,
		New:  func() causaltest.Doc { return &headsOnly{} },
		Edit: editHeads,
	})
}

func encodeHeads(t *rapid.T, h *crdt.Heads) string {
	b, err := h.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := crdt.NewReader(b)
	got := r.Heads()
	if err := r.Done(); err != nil || !slices.Equal(got.All(), h.All()) || got.MaxStamp() != h.MaxStamp() {
		t.Fatalf("%v came back as %v: %v", h, got, err)
	}
	return string(b)
}

func sortedHeads(changes []*crdt.Change) []crdt.Head {
	out := causaltest.Heads(changes)
	slices.SortFunc(out, func(a, b crdt.Head) int { return a.Dot.Compare(b.Dot) })
	return out
}

func TestI05_HeadsAreTheSameInEveryCausalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := headsHistory(t, false)
		want := sortedHeads(h.Changes)
		first := encodeHeads(t, h.Replay(t).Heads())
		for range 3 {
			heads := h.Replay(t).Heads()
			if diff := cmp.Diff(want, slices.Clip(heads.All())); diff != "" && len(want)+len(heads.All()) > 0 {
				t.Fatalf("heads (-model +got):\n%s\n%s", diff, h.Describe())
			}
			if encodeHeads(t, heads) != first {
				t.Fatalf("two orders, two encodings:\n%s", h.Describe())
			}
		}
	})
}

func TestI14_TrimmedHeadsGoOnLikeUntrimmed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := headsHistory(t, true)
		h.Settle(t)
		want := sortedHeads(h.Changes)
		visible := slices.ContainsFunc(want, func(x crdt.Head) bool { return x.Delete == crdt.NotDelete })
		for round := range 2 {
			for _, r := range h.Replicas {
				heads := r.Doc.Heads()
				if heads.Visible() != visible || visible && !slices.Equal(heads.All(), want) {
					t.Fatalf("%v has heads %v, untrimmed they are %v:\n%s", r.ID, heads.All(), want, h.Describe())
				}
				if round == 1 && !visible && heads.Known() {
					t.Fatalf("%v remembers a deletion that is stable: %v", r.ID, heads.All())
				}
			}
			h.TrimAll()
		}
	})
}

func TestI11_StampsGrowAlongEveryHistoryOfADocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { headsHistory(t, false).CheckStamps(t) })
}
