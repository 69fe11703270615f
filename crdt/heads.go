package crdt

import "slices"

// DeleteMode is how a deletion meets a concurrent edit. It travels in the
// operation; applying never reads settings.
type DeleteMode uint8

const (
	// NotDelete marks a mutation that writes.
	NotDelete DeleteMode = iota
	// DeleteEditWins hides the document until the deletion is stable; an edit
	// concurrent with it brings the document back whole.
	DeleteEditWins
	// DeleteWins removes the document whatever is edited concurrently.
	DeleteWins
)

// A Head is a maximal change of a document: no other change that touches the
// document was written having seen it.
type Head struct {
	Dot    Dot
	Stamp  Stamp
	Delete DeleteMode
}

// Heads keeps which changes of a document are maximal, and from that whether
// the document exists. Every type keeps one, so deletion means the same everywhere:
//
//   - A mutation takes away the heads that its Context names and becomes a head.
//   - The document is visible when any head is a write.
//   - A deletion with [DeleteWins] takes all write heads away and, until it is
//     stable, drops writes that come from where it was not known.
//   - A Fresh mutation (its writer saw no document) takes away the deletions in
//     its Deps: the writer's region may already have forgotten them.
//
// Heads of a visible document are never trimmed.
type Heads struct {
	heads []Head // sorted by dot
	wins  []Dot  // deletions with DeleteWins that are not known to be stable
}

// Apply accounts for m. It reports false if a deletion that wins swallows the
// mutation, which must then have no effect on the content.
func (h *Heads) Apply(hd Header, m Mutation) bool {
	if m.Delete == NotDelete {
		for _, w := range h.wins {
			if !hd.Deps.Contains(w) {
				return false
			}
		}
	}
	h.heads = slices.DeleteFunc(h.heads, func(x Head) bool {
		return slices.Contains(m.Context, x.Dot) ||
			m.Fresh && x.Delete != NotDelete && hd.Deps.Contains(x.Dot) ||
			m.Delete == DeleteWins && x.Delete == NotDelete
	})
	if m.Delete == DeleteWins {
		h.wins = insertSorted(h.wins, hd.Dot, Dot.Compare)
	}
	h.heads = insertSorted(h.heads, Head{hd.Dot, hd.Stamp, m.Delete}, func(a, b Head) int { return a.Dot.Compare(b.Dot) })
	return true
}

func insertSorted[T any](s []T, x T, compare func(a, b T) int) []T {
	i, _ := slices.BinarySearchFunc(s, x, compare)
	return slices.Insert(s, i, x)
}

// All returns the heads in dot order. The slice must not be changed.
func (h *Heads) All() []Head { return h.heads }

// Dots returns the heads' dots in order: the context of a write that has seen
// the whole document.
func (h *Heads) Dots() []Dot {
	out := make([]Dot, len(h.heads))
	for i, x := range h.heads {
		out[i] = x.Dot
	}
	return out
}

// Visible reports whether any head is a write.
func (h *Heads) Visible() bool {
	return slices.ContainsFunc(h.heads, func(x Head) bool { return x.Delete == NotDelete })
}

// Known reports whether the document was ever written and is not forgotten.
func (h *Heads) Known() bool { return len(h.heads) > 0 }

// MaxStamp is the greatest stamp in the document's past.
func (h *Heads) MaxStamp() Stamp {
	var s Stamp
	for _, x := range h.heads {
		s = max(s, x.Stamp)
	}
	return s
}

// Settled reports whether every head is in the stable vector: whatever arrives
// from now on was written having seen all that this document went through.
func (h *Heads) Settled(stable Vector) bool {
	return !slices.ContainsFunc(h.heads, func(x Head) bool { return !stable.Contains(x.Dot) })
}

// Trim drops marks that are stable, and all heads of a document whose deletion
// is stable: nothing concurrent with it can still arrive, so it can be forgotten.
func (h *Heads) Trim(stable Vector) (changed bool) {
	n := len(h.wins) + len(h.heads)
	h.wins = slices.DeleteFunc(h.wins, stable.Contains)
	if !h.Visible() && h.Settled(stable) && len(h.wins) == 0 {
		h.heads = nil
	}
	return n != len(h.wins)+len(h.heads)
}

// Clone returns an independent copy.
func (h *Heads) Clone() Heads {
	return Heads{heads: slices.Clone(h.heads), wins: slices.Clone(h.wins)}
}
