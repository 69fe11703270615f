package crdt

import "time"

// A Stamp is a reading of a hybrid logical clock: 48 bits of Unix milliseconds
// and a 16-bit logical counter that overflows into them (Kulkarni et al.:
// Logical Physical Clocks, 2014).
type Stamp uint64

const logicalBits = 16

// StampAt returns the first stamp of the millisecond of t.
func StampAt(t time.Time) Stamp { return Stamp(max(t.UnixMilli(), 0)) << logicalBits }

// Time returns the stamp's millisecond.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> logicalBits)).UTC() }

// String returns the time in RFC 3339 with milliseconds, and the logical part.
func (s Stamp) String() string {
	t := s.Time().Format("2006-01-02T15:04:05.000Z")
	if l := uint16(s); l != 0 {
		return t + "+" + uitoa(uint64(l))
	}
	return t
}

// DefaultMaxSkew is how far the clock's own state may run ahead of the wall clock.
const DefaultMaxSkew = time.Minute

// A Clock issues stamps. It reads no time of its own: the wall time is handed
// to each call. Not safe for concurrent use.
type Clock struct {
	// MaxSkew bounds how far the clock's state follows stamps from the future.
	MaxSkew time.Duration
	last    Stamp
}

// NewClock returns a clock that continues after last.
func NewClock(maxSkew time.Duration, last Stamp) *Clock {
	return &Clock{MaxSkew: maxSkew, last: last}
}

// Last is the clock's state, to be kept across restarts.
func (c *Clock) Last() Stamp { return c.last }

// Next issues a stamp greater than every stamp in the writer's context, of which
// seen is the greatest (I11): max(wall, own state + 1, seen + 1). Only the
// clock's own state is bounded by wall + MaxSkew, so one stamp from far in the
// future does not drag later ones along.
func (c *Clock) Next(wall time.Time, seen Stamp) Stamp {
	limit := StampAt(wall.Add(c.MaxSkew))
	s := max(StampAt(wall), min(c.last, limit)+1, seen+1)
	c.last = min(s, limit)
	return s
}

// Observe moves the clock's state up to a stamp received from a peer, within
// the bound. It reports by how much the stamp is beyond the bound (0 if it is not):
// a peer whose clock runs ahead is to be reported, not followed.
func (c *Clock) Observe(wall time.Time, s Stamp) time.Duration {
	limit := StampAt(wall.Add(c.MaxSkew))
	c.last = max(min(c.last, limit), min(s, limit))
	if s > limit {
		return s.Time().Sub(limit.Time())
	}
	return 0
}
