package crdt

import (
	"strconv"
	"time"
)

// A Stamp is a reading of a hybrid logical clock: 48 bits of Unix milliseconds
// and a 16-bit logical counter that overflows into them (Kulkarni et al.:
// Logical Physical Clocks, 2014).
type Stamp uint64

const logicalBits = 16

// maxMillis is the last millisecond that a stamp can name, in the year 10889.
const maxMillis = 1<<(64-logicalBits) - 1

// StampAt returns the first stamp of the millisecond of t.
func StampAt(t time.Time) Stamp {
	return Stamp(min(max(t.UnixMilli(), 0), maxMillis)) << logicalBits
}

// next returns the stamp after s. There is none after the last of all, which
// only a peer that lies can send; its successors are told apart by their dots.
func (s Stamp) next() Stamp { return max(s+1, s) }

func (s Stamp) millis() uint64 { return uint64(s >> logicalBits) }

// Logical returns the stamp's counter within its millisecond.
func (s Stamp) Logical() uint16 { return uint16(s) }

// Time returns the stamp's millisecond.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s.millis())).UTC() }

// String returns the time in RFC 3339 with milliseconds, and the logical part.
func (s Stamp) String() string {
	var buf [32]byte
	return string(s.Append(buf[:0]))
}

// Append appends what String returns.
func (s Stamp) Append(b []byte) []byte {
	t := s.Time()
	b = t.AppendFormat(b, time.RFC3339) // for which package time has a short way
	ms := t.Nanosecond() / int(time.Millisecond)
	b = append(b[:len(b)-len("Z")], '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 'Z')
	if l := s.Logical(); l != 0 {
		b = strconv.AppendUint(append(b, '+'), uint64(l), 10)
	}
	return b
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
// clock's own state is bounded by wall + MaxSkew: a stamp from beyond that is
// outdone where it was seen, and drags no others along.
func (c *Clock) Next(wall time.Time, seen Stamp) Stamp {
	limit := StampAt(wall.Add(c.MaxSkew))
	own := max(StampAt(wall), c.bounded(limit).next())
	s := max(own, seen.next())
	c.last = own
	if s.millis() <= limit.millis() {
		c.last = s
	}
	c.last = c.bounded(limit)
	return s
}

// bounded is the clock's state, but not beyond the millisecond of limit. The
// logical counter runs on within it, so that stamps stay apart there.
func (c *Clock) bounded(limit Stamp) Stamp {
	if c.last.millis() > limit.millis() {
		return limit
	}
	return c.last
}

// Observe moves the clock's state up to a stamp received from a peer, if that is
// within the bound. It reports by how much the stamp is beyond the bound (0 if it
// is not): a peer whose clock runs ahead is to be reported, not followed.
func (c *Clock) Observe(wall time.Time, s Stamp) time.Duration {
	limit := StampAt(wall.Add(c.MaxSkew))
	c.last = c.bounded(limit)
	if s.millis() > limit.millis() {
		return s.Time().Sub(limit.Time())
	}
	c.last = max(c.last, s)
	return 0
}
