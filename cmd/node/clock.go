package node

import (
	"sync/atomic"
	"time"
)

// A shiftedClock is the system's clock, some time ahead or behind. The zero value
// is the system's clock.
type shiftedClock struct{ offset atomic.Int64 }

// Now reads the clock.
func (c *shiftedClock) Now() time.Time { return time.Now().Add(c.Offset()) }

// Offset is how far it is ahead.
func (c *shiftedClock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// SetOffset lets the clock jump.
func (c *shiftedClock) SetOffset(d time.Duration) { c.offset.Store(int64(d)) }
