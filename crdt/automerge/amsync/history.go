package amsync

import (
	"bytes"
	"container/heap"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// Hash names a change.
type Hash = validate.Hash

// A History is the changes of a document and how they depend on each other. It
// only grows. It is not safe for concurrent use.
type History struct {
	changes []change // dependencies first
	byHash  map[Hash]int
	heads   []Hash // ascending
	size    int
}

type change struct {
	hash Hash
	deps []int
	raw  []byte
}

// NewHistory returns an empty history.
func NewHistory() *History { return &History{byHash: map[Hash]int{}} }

// Add puts a change on top, whose dependencies must be there. One that is there
// is left alone.
func (h *History) Add(l validate.Links) error {
	if h.Has(l.Hash) {
		return nil
	}
	c := change{hash: l.Hash, deps: make([]int, len(l.Deps)), raw: l.Raw}
	for i, d := range l.Deps {
		k, ok := h.byHash[d]
		if !ok {
			return fmt.Errorf("%w: %v needs %v", validate.ErrMissing, l.Hash, d)
		}
		c.deps[i] = k
	}
	h.byHash[l.Hash] = len(h.changes)
	h.changes = append(h.changes, c)
	h.size += perChange + len(c.raw)
	heads := slices.DeleteFunc(slices.Clone(h.heads), func(x Hash) bool { return slices.Contains(l.Deps, x) })
	i, _ := slices.BinarySearchFunc(heads, l.Hash, compare)
	h.heads = slices.Insert(heads, i, l.Hash)
	return nil
}

// perChange is what a change takes besides its bytes, about.
const perChange = 200

func compare(a, b Hash) int { return bytes.Compare(a[:], b[:]) }

// Has reports whether a change is there.
func (h *History) Has(x Hash) bool { _, ok := h.byHash[x]; return ok }

// Len is the number of changes, Size the memory that they take, about.
func (h *History) Len() int { return len(h.changes) }

// Size estimates the memory that the history takes.
func (h *History) Size() int { return h.size }

// Heads are the changes that no other depends on, ascending. They must not be changed.
func (h *History) Heads() []Hash { return h.heads }

// Raw is the chunk of a change, nil if it is not there.
func (h *History) Raw(x Hash) []byte {
	if i, ok := h.byHash[x]; ok {
		return h.changes[i].raw
	}
	return nil
}

// known leaves out what is not there.
func (h *History) known(hs []Hash) (out []Hash) {
	for _, x := range hs {
		if h.Has(x) {
			out = append(out, x)
		}
	}
	return out
}

// since lists what is neither among seen nor below it, dependencies first. Of
// seen, what is not there counts for nothing. It looks at what it lists, and
// little more.
func (h *History) since(seen []Hash) []int {
	w := walk{seen: map[int]bool{}}
	for _, x := range seen {
		if i, ok := h.byHash[x]; ok {
			w.push(i, true)
		}
	}
	for _, x := range h.heads {
		w.push(h.byHash[x], false)
	}
	var out []int
	// What comes later has a greater index, so once a change is the greatest that
	// is left, everything that leads to it has been looked at.
	for w.fresh > 0 {
		i := heap.Pop(&w.open).(int)
		seen := w.seen[i]
		if !seen {
			w.fresh--
			out = append(out, i)
		}
		for _, d := range h.changes[i].deps {
			w.push(d, seen)
		}
	}
	slices.Reverse(out)
	return out
}

// walk is a visit of a history from its end.
type walk struct {
	open  intHeap
	seen  map[int]bool // of those that were ever opened
	fresh int          // open, and not seen
}

func (w *walk) push(i int, seen bool) {
	was, opened := w.seen[i]
	switch {
	case !opened:
		heap.Push(&w.open, i)
		w.seen[i] = seen
		if !seen {
			w.fresh++
		}
	case seen && !was:
		w.seen[i] = true
		w.fresh--
	}
}

// intHeap has the greatest at the top.
type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *intHeap) Push(x any) { *h = append(*h, x.(int)) }

// Pop implements heap.Interface.
func (h *intHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// All returns the chunks of all changes, dependencies first.
func (h *History) All() [][]byte {
	out := make([][]byte, len(h.changes))
	for i := range h.changes {
		out[i] = h.changes[i].raw
	}
	return out
}
