package transport

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The defaults of Config.
const (
	DefaultQueueBytes    = 8 << 20
	DefaultBatchBytes    = 256 << 10
	DefaultCompressAbove = 4 << 10
	DefaultMaxBulk       = 5 // four for catch-up, and one for what is forwarded
	DefaultDialTimeout   = 3 * time.Second
	DefaultBackoffFrom   = 100 * time.Millisecond
	DefaultBackoffTo     = 2 * time.Second
	DefaultStableAfter   = 10 * time.Second
)

// NeverCompress as Config.CompressAbove turns compression off.
const NeverCompress = -1

// Config holds the settings that every transport has. The zero value of a field
// stands for its default.
type Config struct {
	// QueueBytes bounds what waits on a live stream. One message that is larger
	// is still taken when nothing waits.
	QueueBytes int
	// BatchBytes is how much of what waits goes into one frame and one write.
	BatchBytes int
	// CompressAbove is the size of a frame from which on it is compressed, if
	// that makes it smaller. Small frames do not shrink.
	CompressAbove int
	// MaxBulk is how many bulk streams a peer may have open to this side.
	MaxBulk int
	// DialTimeout bounds one attempt to dial: the handshake, and the peer's word
	// that the connection is to be the link.
	DialTimeout time.Duration
	// BackoffMin and BackoffMax bound the wait between attempts to dial. It
	// doubles with each failure, and a random half of it is left out, so that
	// many regions do not dial in step.
	BackoffMin, BackoffMax time.Duration
	// StableAfter is how long a link must have lasted for the wait to start at
	// BackoffMin again.
	StableAfter time.Duration
	// Seed makes the jitter repeatable. The default is a random one.
	Seed uint64
	// Log gets what an operator should know. The default discards it.
	Log *slog.Logger
}

// ErrConfig is wrapped by what Validate returns.
var ErrConfig = errors.New("bad transport configuration")

// Validate returns c with defaults filled in, or says what is wrong with it.
func (c Config) Validate() (Config, error) {
	def(&c.QueueBytes, DefaultQueueBytes)
	def(&c.BatchBytes, DefaultBatchBytes)
	def(&c.CompressAbove, DefaultCompressAbove)
	def(&c.MaxBulk, DefaultMaxBulk)
	def(&c.DialTimeout, DefaultDialTimeout)
	def(&c.BackoffMin, DefaultBackoffFrom)
	def(&c.BackoffMax, max(DefaultBackoffTo, c.BackoffMin))
	def(&c.StableAfter, DefaultStableAfter)
	for c.Seed == 0 {
		var b [8]byte
		rand.Read(b[:]) // never fails
		c.Seed = binary.BigEndian.Uint64(b[:])
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.QueueBytes < 0:
		return c, fmt.Errorf("%w: QueueBytes is negative", ErrConfig)
	case c.BatchBytes < 0 || c.BatchBytes > MaxBatchBytes:
		return c, fmt.Errorf("%w: BatchBytes must be between 1 and %d", ErrConfig, MaxBatchBytes)
	case c.MaxBulk < 0 || c.MaxBulk > MaxBulkLimit:
		return c, fmt.Errorf("%w: MaxBulk must be between 1 and %d", ErrConfig, MaxBulkLimit)
	case c.DialTimeout < 0 || c.StableAfter < 0:
		return c, fmt.Errorf("%w: negative duration", ErrConfig)
	case c.BackoffMin < 0 || c.BackoffMax < c.BackoffMin:
		return c, fmt.Errorf("%w: BackoffMin and BackoffMax must satisfy 0 < BackoffMin <= BackoffMax", ErrConfig)
	}
	return c, nil
}

// Bounds of Config.
const (
	MaxBatchBytes = 4 << 20
	MaxBulkLimit  = 256
)

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
