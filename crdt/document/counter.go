package document

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// A counter is a sum of cells, each of which one replica alone adds to.
//
// Sums wrap around. So the value is exact whenever the true sum fits into an
// int64, whatever the cells hold; a local increment that would leave the range
// is refused, and only concurrent ones can wrap the sum.
type counter struct {
	own      *owner
	presence []mark
	cells    []cell // sorted by tag
}

// A cell is what one replica has added since the cell's first increment, whose
// tag names it. A reset names the cells with what it saw of them; floors join
// by the greatest seq, so that two concurrent resets do not subtract twice
// (design rule 7). The replica of a cell with a floor starts a new one.
type cell struct {
	tag        tag
	seq        uint64     // of the last increment
	stamp      crdt.Stamp // of the last increment
	total      int64
	floorSeq   uint64
	floorTotal int64
	dead       deadness
}

// live reports whether the cell has increments that no reset saw.
func (c *cell) live() bool { return c.seq > c.floorSeq }

// last is the mark of the last increment.
func (c *cell) last() mark {
	return mark{tag{crdt.Dot{Replica: c.tag.dot.Replica, Seq: c.seq}, 0}, c.stamp}
}

func (o *owner) counterOf(s *slot) *counter {
	switch {
	case s.c == nil:
		s.c = &counter{own: o}
	case s.c.own != o:
		s.c = &counter{own: o, presence: s.c.presence, cells: slices.Clone(s.c.cells)}
	}
	return s.c
}

func (c *counter) empty() bool { return len(c.presence) == 0 && len(c.cells) == 0 }

func (c *counter) alive() bool {
	return c != nil && (len(c.presence) > 0 || c.counts())
}

// counts reports whether any cell is live.
func (c *counter) counts() bool {
	return c != nil && slices.ContainsFunc(c.cells, func(x cell) bool { return x.live() })
}

func (c *counter) sum() int64 {
	var n int64
	for i := range c.cells {
		if x := &c.cells[i]; x.live() {
			n += x.total - x.floorTotal
		}
	}
	return n
}

// find returns the index of the cell with this tag, or where it would be.
func (c *counter) find(t tag) (int, bool) {
	return slices.BinarySearchFunc(c.cells, t, func(x cell, t tag) int { return x.tag.compare(t) })
}

// ownCell returns the cell that replica r goes on adding to, if it has one.
func (c *counter) ownCell(r crdt.ReplicaID) (tag, bool) {
	if c == nil {
		return tag{}, false
	}
	for i := len(c.cells) - 1; i >= 0; i-- {
		if x := &c.cells[i]; x.tag.dot.Replica == r && x.floorSeq == 0 {
			return x.tag, true
		}
	}
	return tag{}, false
}
