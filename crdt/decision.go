package crdt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A Decision says what part a mutation has in what an application's callback
// decided about a conflict. It travels in the operation: whether a conflict is
// decided is part of the replicated state, the same in all regions.
type Decision uint8

const (
	// Undecided marks a mutation that somebody made of his own accord, and a
	// conflict that is for somebody to decide.
	Undecided Decision = iota
	// DecisionAnswer marks a mutation that writes the answer of the callback
	// over the versions that it was shown, or deletes them.
	DecisionAnswer
	// DecisionKeep marks a mutation that leaves the versions in its Context as
	// they are, side by side, in the place that its Payload names by a JSON
	// pointer. It changes nothing else: it becomes no head, so the document's
	// version stays the same.
	DecisionKeep
)

// decisions is what the callback has decided about the versions of a document.
type decisions struct {
	answers []Dot  // sorted: changes that wrote an answer
	kept    []kept // sorted, none within another
}

// kept are versions that were left side by side in a place.
type kept struct {
	path string
	dots []Dot // sorted
}

func (k kept) compare(o kept) int {
	return cmp.Or(strings.Compare(k.path, o.path), slices.CompareFunc(k.dots, o.dots, Dot.Compare))
}

func (k kept) within(o kept) bool { return k.path == o.path && within(k.dots, o.dots) }

func (d *decisions) empty() bool { return len(d.answers)+len(d.kept) == 0 }

func (d *decisions) clone() decisions {
	return decisions{slices.Clone(d.answers), slices.Clone(d.kept)}
}

// keep notes that a set of versions was left as it is. Of sets within each other
// the greatest says it all, so the order in which they come does not matter.
func (d *decisions) keep(path string, dots []Dot) {
	n := kept{path, slices.Clone(dots)}
	if slices.ContainsFunc(d.kept, n.within) {
		return
	}
	d.kept = slices.DeleteFunc(slices.Clone(d.kept), func(k kept) bool { return k.within(n) })
	d.kept = insertSorted(d.kept, n, kept.compare)
}

// within reports whether each of a is in the sorted b.
func within(a, b []Dot) bool {
	return !slices.ContainsFunc(a, func(d Dot) bool {
		_, found := slices.BinarySearchFunc(b, d, Dot.Compare)
		return !found
	})
}

// answered reports whether the change of a dot wrote an answer.
func (d *decisions) answered(dot Dot) bool {
	_, found := slices.BinarySearchFunc(d.answers, dot, Dot.Compare)
	return found
}

// mark says of a conflict how it was decided: if all its versions are answers,
// or all were seen together and kept.
func (d *decisions) mark(c *Conflict) {
	is := kept{c.Path, make([]Dot, len(c.Versions))}
	all := true
	for i := range c.Versions {
		v := &c.Versions[i]
		is.dots[i] = v.Dot
		v.Answer = d.answered(v.Dot)
		all = all && v.Answer
	}
	switch {
	case len(is.dots) < minKept:
	case slices.ContainsFunc(d.kept, is.within):
		c.Decided = DecisionKeep
	case all:
		c.Decided = DecisionAnswer
	}
}

// Marking wraps a policy so that the conflicts it is asked about say how they
// were decided.
func (h *Heads) Marking(resolve Resolve) Resolve {
	if h.decisions.empty() || resolve == nil {
		return resolve
	}
	return func(c Conflict) Outcome {
		h.decisions.mark(&c)
		return resolve(c)
	}
}

// Mark says of conflicts how they were decided.
func (h *Heads) Mark(conflicts []Resolved) {
	if h.decisions.empty() {
		return
	}
	for i := range conflicts {
		h.decisions.mark(&conflicts[i].Conflict)
	}
}

// TrimDecisions drops what was decided about versions that are gone. An answer is
// remembered as long as something of it lives, since a write that is based on an
// older version can still come beside it; what lives is told by live, or if that
// is nil by the conflicts that stand. view is that of the document. Both are asked
// only if there is something that may go.
func (h *Heads) TrimDecisions(stable Vector, view func(Resolve) View, live func() []Dot) (changed bool) {
	d := &h.decisions
	// What is hidden by a deletion may come back.
	if d.empty() || !h.Visible() || !slices.ContainsFunc(d.answers, stable.Contains) &&
		!slices.ContainsFunc(d.kept, func(k kept) bool { return allIn(stable, k.dots) }) {
		return false
	}
	var standing []kept
	view(func(c Conflict) Outcome {
		dots := make([]Dot, len(c.Versions))
		for i := range c.Versions {
			dots[i] = c.Versions[i].Dot
		}
		standing = append(standing, kept{c.Path, dots})
		return Outcome{Shown: len(c.Versions) - 1}
	})
	n := len(d.answers) + len(d.kept)
	lives := func(a Dot) bool {
		return slices.ContainsFunc(standing, func(s kept) bool { return slices.Contains(s.dots, a) })
	}
	if live != nil {
		lives = dotSet(live())
	}
	d.answers = slices.DeleteFunc(slices.Clone(d.answers), func(a Dot) bool { return stable.Contains(a) && !lives(a) })
	d.kept = slices.DeleteFunc(slices.Clone(d.kept), func(k kept) bool {
		return allIn(stable, k.dots) && !slices.ContainsFunc(standing, func(s kept) bool { return s.within(k) })
	})
	return n != len(d.answers)+len(d.kept)
}

func allIn(v Vector, dots []Dot) bool {
	return !slices.ContainsFunc(dots, func(d Dot) bool { return !v.Contains(d) })
}

// decisionMark stands where else the stamp floor of a document that has heads
// would, which is never 1: the decisions follow, and then the floor.
const decisionMark = 1

// minKept is how many versions are kept at the least, maxKeptPath how long the
// name of their place is at the most, in bytes.
const (
	minKept     = 2
	maxKeptPath = 1 << 20
)

func (d *decisions) appendBinary(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(d.answers)))
	for _, a := range d.answers {
		b = appendDot(b, a)
	}
	b = binary.AppendUvarint(b, uint64(len(d.kept)))
	for _, k := range d.kept {
		b = binary.AppendUvarint(b, uint64(len(k.path)))
		b = append(b, k.path...)
		b = binary.AppendUvarint(b, uint64(len(k.dots)))
		for _, dot := range k.dots {
			b = appendDot(b, dot)
		}
	}
	return b
}

func (r *Reader) decisions() (d decisions) {
	d.answers = r.sortedDots(maxHeads)
	if n := r.Count(maxHeads, 2+17*minKept); n > 0 {
		d.kept = make([]kept, n)
		for i := range d.kept {
			if d.kept[i] = (kept{string(r.Bytes(maxKeptPath)), r.sortedDots(MaxContext)}); r.err != nil {
				return decisions{}
			}
			if len(d.kept[i].dots) < minKept || i > 0 && d.kept[i-1].compare(d.kept[i]) >= 0 {
				r.Fail("kept versions out of order")
			}
		}
	}
	if d.empty() {
		r.Fail("decisions about nothing")
	}
	return d
}

func (r *Reader) sortedDots(limit int) []Dot {
	n := r.Count(limit, 17)
	if n == 0 {
		return nil
	}
	dots := make([]Dot, n)
	for i := range dots {
		dots[i] = r.Dot()
		if dots[i].IsZero() || i > 0 && dots[i-1].Compare(dots[i]) >= 0 {
			r.Fail("dots out of order")
		}
	}
	return dots
}

// checkDecision reports what no correct replica writes.
func (m *Mutation) checkDecision() error {
	switch {
	case m.Decision > DecisionKeep:
		return fmt.Errorf("%w: bad decision", ErrCorrupt)
	case m.Decision != Undecided && (m.Fresh || m.Collection.IsZero()):
		return fmt.Errorf("%w: a decision about a document that its writer did not see", ErrCorrupt)
	case m.Decision == DecisionKeep && (m.Delete != NotDelete || len(m.Payload) > maxKeptPath || len(m.Context) < minKept):
		return fmt.Errorf("%w: a decision to keep versions that does something else", ErrCorrupt)
	}
	return nil
}
