package region

import (
	"context"
	"errors"
	"time"

	"github.com/meridiandb/meridian/region/store"
)

// Bounds of compacting the store.
const (
	// compactEvery is how often it is looked at whether the store is worth it.
	compactEvery = 10 * time.Second
	// quietBytes is the most that is written in that time to a region that is quiet.
	quietBytes = 1 << 20
	// compactAbove is how much must have been written since.
	compactAbove = 64 << 20
	// compactGarbage is how much of the store must be garbage: a store that only grew is
	// not worth the work.
	compactGarbage = 0.25
	// judgeEvery is how long after the garbage was too little it is estimated again,
	// although nothing was written: logs are cut, and old versions expire.
	judgeEvery = 10 * time.Minute
	// compactBelow is the size up to which it is done: the levels of a larger store keep
	// little in proportion that is no longer there, and it would take minutes.
	compactBelow = 1 << 30
)

// compact gives the room of what was replaced and removed back when the region has
// become quiet. Under load the store does enough by itself.
func (r *Region) compact(ctx context.Context) error {
	c, ok := r.store.(store.Compactor)
	if !ok {
		return nil
	}
	ticker := time.NewTicker(compactEvery)
	defer ticker.Stop()
	last, judge := c.Written(), judgement{}
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case now = <-ticker.C:
		}
		written := c.Written()
		quiet := written-last < quietBytes
		if last = written; !quiet || !judge.due(written, now) {
			continue
		}
		if err := r.compactIfWorth(c); errors.Is(err, store.ErrClosed) {
			return nil
		} else if err != nil {
			r.cfg.Logger.Warn("the store could not be compacted", "error", err)
		}
		last = c.Written()
		judge = judgement{written: last, at: now}
	}
}

// A judgement is when it was looked at last whether to compact the store.
type judgement struct {
	written int64
	at      time.Time
}

// due reports whether to look again. written is since the store was compacted.
func (j judgement) due(written int64, now time.Time) bool {
	return written-j.written >= compactAbove || written >= compactAbove && now.Sub(j.at) >= judgeEvery
}

func (r *Region) compactIfWorth(c store.Compactor) error {
	before, err := r.store.Sizes()
	if err != nil || before.Records > compactBelow {
		return err
	}
	garbage, err := c.Garbage()
	if err != nil || garbage < compactGarbage {
		return err
	}
	start := time.Now()
	if err := c.Compact(); err != nil {
		return err
	}
	after, err := r.store.Sizes()
	if err != nil {
		return err
	}
	r.cfg.Logger.Info("compacted the store", "before", before.Records, "after", after.Records, "took", time.Since(start).Round(time.Millisecond))
	return nil
}
