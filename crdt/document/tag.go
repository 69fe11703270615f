package document

import (
	"cmp"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// A tag names one mark for ever: the N-th that the mutation of change Dot made.
// The numbers follow from the operations, so a mutation does not spell them out.
type tag struct {
	dot crdt.Dot
	n   uint32
}

func (t tag) compare(o tag) int {
	if c := t.dot.Compare(o.dot); c != 0 {
		return c
	}
	return cmp.Compare(t.n, o.n)
}

// A mark is something that is there until an operation names its tag. The stamp
// is that of the tag's change.
type mark struct {
	tag   tag
	stamp crdt.Stamp
}

// compare orders marks by age: by stamp, then tag.
func (m mark) compare(o mark) int {
	if c := cmp.Compare(m.stamp, o.stamp); c != 0 {
		return c
	}
	return m.tag.compare(o.tag)
}

func newest(a, b mark) mark {
	if a.compare(b) >= 0 {
		return a
	}
	return b
}

// addMark returns marks with m in its place, by tag. The argument is unchanged.
func addMark(marks []mark, m mark) []mark {
	i, found := slices.BinarySearchFunc(marks, m, func(a, b mark) int { return a.tag.compare(b.tag) })
	if found {
		return marks
	}
	return slices.Insert(slices.Clip(marks), i, m)
}

// dropMarks returns marks without those that r names, and whether there were
// any. The argument is unchanged.
func dropMarks(marks []mark, r *removal) ([]mark, bool) {
	i := slices.IndexFunc(marks, func(m mark) bool { return r.hits(m.tag) })
	if i < 0 {
		return marks, false
	}
	var kept []mark
	kept = append(kept, marks[:i]...)
	for _, m := range marks[i+1:] {
		if !r.hits(m.tag) {
			kept = append(kept, m)
		}
	}
	return kept, true
}

func newestOf(marks []mark) mark {
	var best mark
	for _, m := range marks {
		best = newest(best, m)
	}
	return best
}

// A tagRange is tags from..to of one change, both included.
type tagRange struct {
	dot      crdt.Dot
	from, to uint32
}

// A tagSet is a set of tags as sorted ranges that do not touch. What one change
// made is mostly removed together, so a range stands for many.
type tagSet []tagRange

func newTagSet(tags []tag) tagSet {
	slices.SortFunc(tags, tag.compare)
	var s tagSet
	for _, t := range tags {
		if k := len(s) - 1; k >= 0 && s[k].dot == t.dot && t.n <= s[k].to+1 {
			s[k].to = t.n
			continue
		}
		s = append(s, tagRange{t.dot, t.n, t.n})
	}
	return s
}

func (s tagSet) contains(t tag) bool {
	i, _ := slices.BinarySearchFunc(s, t, func(r tagRange, t tag) int {
		return tag{r.dot, r.to}.compare(t)
	})
	return i < len(s) && s[i].dot == t.dot && s[i].from <= t.n
}

// A cellRef names a counter's cell as a writer saw it.
type cellRef struct {
	tag   tag
	seq   uint64
	total int64
}

// A removal is what an operation takes away. Only what its writer had seen is
// in it, so nothing has to be remembered for what arrives later.
type removal struct {
	tags  tagSet
	cells []cellRef // sorted by tag
	// deps, if not nil, removes everything below it: the content that a Fresh
	// mutation leaves behind.
	deps *crdt.Vector
	// tooFar is set by a floor beyond what its cell has seen.
	tooFar bool
}

func (r *removal) hits(t tag) bool {
	if r.deps != nil && r.deps.Contains(t.dot) {
		return true
	}
	return len(r.tags) > 0 && r.tags.contains(t)
}

// floor is what r removes of a cell, if anything.
func (r *removal) floor(c *cell) (seq uint64, total int64, ok bool) {
	if r.deps != nil && c.seq <= r.deps.Get(c.tag.dot.Replica) {
		return c.seq, c.total, true
	}
	i, found := slices.BinarySearchFunc(r.cells, c.tag, func(x cellRef, t tag) int { return x.tag.compare(t) })
	if !found {
		return 0, 0, false
	}
	return r.cells[i].seq, r.cells[i].total, true
}
