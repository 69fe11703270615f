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
	// compactShare is how much of the store's size that must be: the work of it stays
	// a small multiple of that of the writes.
	compactShare = 0.5
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
	last := c.Written()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		written := c.Written()
		quiet := written-last < quietBytes
		if last = written; !quiet {
			continue
		}
		before, err := r.store.Sizes()
		if err != nil || written < compactAbove || before.Records > compactBelow || float64(written) < compactShare*float64(before.Records) {
			continue
		}
		start := time.Now()
		if err := c.Compact(); errors.Is(err, store.ErrClosed) {
			return nil
		} else if err != nil {
			r.cfg.Logger.Warn("the store could not be compacted", "error", err)
			continue
		}
		last = c.Written()
		if after, err := r.store.Sizes(); err == nil {
			r.cfg.Logger.Info("compacted the store", "before", before.Records, "after", after.Records, "took", time.Since(start).Round(time.Millisecond))
		}
	}
}
