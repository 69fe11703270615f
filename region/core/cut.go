package core

import (
	"time"

	"github.com/meridiandb/meridian/crdt"
)

// Retention says how much of the log is kept although no member needs it any
// more: the conflict log explains with it, and a store that was restored from
// an older copy goes on from it without a snapshot. What any member may still
// need is always kept (I12).
type Retention struct {
	// Changes is how many of the last changes of each replica are kept at least,
	// 1 or more. Default DefaultRetentionChanges.
	Changes uint64
	// Age is for how long a change is kept at least after it came, by the time
	// that this process has run. Default 0.
	Age time.Duration
}

// DefaultRetentionChanges is the default of Retention.Changes.
const DefaultRetentionChanges = 10_000

// Bounds of the work of cutting the log.
const (
	// cutEvery and cutItems bound how fast the log is cut.
	cutEvery = 100 * time.Millisecond
	cutItems = 2000
	// maxMarks is how many moments are remembered for Retention.Age, which is
	// rounded up to a part of itself of that number.
	maxMarks = 32
)

// A logCut is how far the log was cut, and what of it may be cut next.
type logCut struct {
	// vector is what the log does not have any more. It has the last change of
	// each replica always.
	vector  crdt.Vector
	removed uint64 // since the start
	next    time.Duration
	// marks say what was held here when, oldest first.
	marks []sample
}

// LogStatus tells of the log of changes.
type LogStatus struct {
	// Changes is how many it has, Cut up to where it was cut.
	Changes uint64
	Cut     crdt.Vector
	// Removed is how many changes were cut off since the start.
	Removed uint64
}

func (c *Core) logStatus() LogStatus {
	return LogStatus{Changes: c.cut.vector.Lacks(c.have), Cut: c.cut.vector, Removed: c.cut.removed}
}

// cutLog removes, a little at a time, what every member holds of the log and
// nothing concurrent with it can still arrive. The latter is not needed for
// catching up: the conflict log looks at changes that are not stable.
func (c *Core) cutLog() {
	if c.uptime < c.cut.next || c.boot.phase != bootNone {
		return
	}
	c.cut.next = c.uptime + cutEvery
	left := uint64(cutItems)
	for r, held := range c.cuttable().All() {
		cut, have := c.cut.vector.Get(r), c.have.Get(r)
		if keep := c.cfg.Retention.Changes; have <= keep || min(held, have-keep) <= cut || left == 0 {
			continue
		}
		to := min(held, have-c.cfg.Retention.Changes, cut+left)
		left -= to - cut
		c.trimLog(crdt.Span{Replica: r, From: cut + 1, To: to})
	}
}

// trimLog removes a span at the beginning of a replica's log.
func (c *Core) trimLog(s crdt.Span) {
	c.batch.TrimLog = append(c.batch.TrimLog, s)
	c.cut.vector = c.cut.vector.With(crdt.Dot{Replica: s.Replica, Seq: s.To})
	c.cut.removed += s.To - s.From + 1
}

// cuttable is what may be cut, but for Retention.Changes.
func (c *Core) cuttable() crdt.Vector {
	v := c.sync.held.Meet(c.sync.stable)
	age := c.cfg.Retention.Age
	if age == 0 {
		return v
	}
	n := len(c.cut.marks)
	if n == 0 || c.uptime-c.cut.marks[n-1].at >= age/maxMarks {
		c.cut.marks = append(c.cut.marks, sample{c.uptime, c.have})
	}
	old := crdt.Vector{}
	for len(c.cut.marks) > 0 && c.uptime-c.cut.marks[0].at >= age {
		old = c.cut.marks[0].have
		if len(c.cut.marks) == 1 || c.uptime-c.cut.marks[1].at < age {
			break
		}
		c.cut.marks = c.cut.marks[1:]
	}
	return v.Meet(old)
}
