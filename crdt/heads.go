package crdt

import (
	"encoding/binary"
	"slices"
)

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
//     stable, swallows writes that come from where it was not known: they take
//     away what they had seen, but do not become heads.
//   - A Fresh mutation (its writer saw no document) takes away the deletions in
//     its Deps: the writer's region may already have forgotten them.
//
// So a change is a head exactly when no other takes it away, in whatever causal
// order they came. Heads of a visible document are never trimmed.
type Heads struct {
	heads []Head // sorted by dot
	wins  []Dot  // sorted; deletions with DeleteWins that are not known to be stable
	// floor is the greatest stamp in the document's past if that is above
	// all heads' (a deletion that wins took it away), and 0 otherwise.
	floor Stamp
	// decisions of a callback about versions of the document.
	decisions decisions
}

// Apply accounts for m. It reports false if the mutation must add nothing to the
// content: a deletion that wins swallows it, or it only keeps what is there.
func (h *Heads) Apply(hd Header, m Mutation) bool {
	if m.Decision == DecisionKeep {
		if len(h.heads) > 0 {
			h.decisions.keep(string(m.Payload), m.Context)
		}
		if hd.Stamp > h.MaxStamp() {
			h.floor = hd.Stamp // so that later writes have greater ones (I11)
		}
		return false
	}
	seen := max(h.MaxStamp(), hd.Stamp)
	swallowed := m.Delete == NotDelete &&
		slices.ContainsFunc(h.wins, func(w Dot) bool { return !hd.Deps.Contains(w) })
	named := dotSet(m.Context)
	h.heads = slices.DeleteFunc(h.heads, func(x Head) bool {
		return named(x.Dot) ||
			m.Fresh && x.Delete != NotDelete && hd.Deps.Contains(x.Dot) ||
			m.Delete == DeleteWins && x.Delete == NotDelete
	})
	if m.Delete == DeleteWins {
		h.wins = insertSorted(h.wins, hd.Dot, Dot.Compare)
		h.decisions = decisions{} // what they are about is gone
	}
	if !swallowed {
		if m.Decision == DecisionAnswer {
			h.decisions.answers = insertSorted(h.decisions.answers, hd.Dot, Dot.Compare)
		}
		h.heads = insertSorted(h.heads, Head{hd.Dot, hd.Stamp, m.Delete},
			func(a, b Head) int { return a.Dot.Compare(b.Dot) })
	}
	if len(h.heads) == 0 {
		h.decisions = decisions{}
	}
	if h.floor = 0; seen > h.MaxStamp() {
		h.floor = seen
	}
	return !swallowed
}

// scanned is how many dots are scanned rather than hashed.
const scanned = 16

// dotSet returns the membership test of a set of dots.
func dotSet(dots []Dot) func(Dot) bool {
	if len(dots) <= scanned {
		return func(d Dot) bool { return slices.Contains(dots, d) }
	}
	set := make(map[Dot]struct{}, len(dots))
	for _, d := range dots {
		set[d] = struct{}{}
	}
	return func(d Dot) bool { _, ok := set[d]; return ok }
}

func insertSorted[T any](s []T, x T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(s, x, compare)
	if found {
		return s
	}
	return slices.Insert(s, i, x)
}

// All returns the heads in dot order. The slice must not be changed, and is
// good until the next Apply or Trim.
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

// Known reports whether the document was ever written and is not forgotten. There
// may be no head left, when a write that was swallowed had taken the deletion's
// place, and still a mark that has to swallow others.
func (h *Heads) Known() bool { return len(h.heads)+len(h.wins) > 0 }

// Wins returns the deletions that win and are not known to be stable, in dot
// order: what swallows a write that does not have one of them in its Deps. The
// slice must not be changed.
func (h *Heads) Wins() []Dot { return h.wins }

// MaxStamp is the greatest stamp in the document's past, as far as it is not forgotten.
func (h *Heads) MaxStamp() Stamp {
	s := h.floor
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
		h.heads, h.floor, h.decisions = nil, 0, decisions{}
	}
	return n != len(h.wins)+len(h.heads)
}

// Trims reports whether Trim or TrimDecisions may yet drop anything.
func (h *Heads) Trims() bool {
	return len(h.wins) > 0 || len(h.heads) > 0 && !h.Visible() || !h.decisions.empty()
}

// Clone returns an independent copy.
func (h *Heads) Clone() Heads {
	return Heads{heads: slices.Clone(h.heads), wins: slices.Clone(h.wins), floor: h.floor, decisions: h.decisions.clone()}
}

// maxHeads bounds the heads of one document in a decoder.
const maxHeads = 1 << 20

// AppendBinary appends the heads' encoding.
func (h *Heads) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(h.heads)))
	for _, x := range h.heads {
		b = appendDot(b, x.Dot)
		b = binary.AppendUvarint(b, uint64(x.Stamp))
		b = append(b, byte(x.Delete))
	}
	b = binary.AppendUvarint(b, uint64(len(h.wins)))
	for _, d := range h.wins {
		b = appendDot(b, d)
	}
	if len(h.heads) > 0 && !h.decisions.empty() {
		b = binary.AppendUvarint(b, decisionMark)
		b = h.decisions.appendBinary(b)
	}
	return binary.AppendUvarint(b, uint64(h.floor)), nil
}

// Heads reads what Heads.AppendBinary writes.
func (r *Reader) Heads() Heads {
	var h Heads
	if n := r.Count(maxHeads, 19); n > 0 {
		h.heads = make([]Head, n)
		for i := range h.heads {
			x := Head{Dot: r.Dot(), Stamp: Stamp(r.Uvarint()), Delete: DeleteMode(r.Byte())}
			if x.Delete > DeleteWins {
				r.Fail("bad delete mode")
			}
			if x.Dot.IsZero() || i > 0 && h.heads[i-1].Dot.Compare(x.Dot) >= 0 {
				r.Fail("heads out of order")
			}
			h.heads[i] = x
		}
	}
	h.wins = r.sortedDots(maxHeads)
	floor := Stamp(r.Uvarint())
	if floor == decisionMark && len(h.heads) > 0 {
		h.decisions = r.decisions()
		floor = Stamp(r.Uvarint())
	}
	if floor != 0 && floor <= h.MaxStamp() {
		r.Fail("bad stamp floor")
	}
	if r.err != nil {
		return Heads{}
	}
	h.floor = floor
	return h
}
