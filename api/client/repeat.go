package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// HeaderKey names a request, so that it is carried out once however often it is sent.
const HeaderKey = "Idempotency-Key"

// HeaderRepeated says that the request was carried out before.
const HeaderRepeated = "Meridian-Repeated"

const (
	// RepeatFor is for how long a write under an idempotency key is repeated, in
	// the region that may have made it, while it is not known whether it has.
	RepeatFor = 10 * time.Second
	// The wait before that doubles from the first to the second.
	minRepeat = 50 * time.Millisecond
	maxRepeat = 2 * time.Second
)

// ErrUncertain is the error of a write of which it is not known whether it was
// made. Under the same idempotency key it can be sent to the same region again.
var ErrUncertain = errors.New("the write may have been made")

// NewKey makes an idempotency key that nobody has used.
func NewKey() string { return rand.Text() }

// key is the idempotency key that the options ask for.
func (o WriteOptions) key() string {
	if o.Key == "" && o.Repeat {
		return NewKey()
	}
	return o.Key
}

// try sends a request to this client's own region. A write under an idempotency
// key whose outcome is not known is sent again.
func (c *Client) try(ctx context.Context, q request) (*answer, error) {
	a, err := c.do(ctx, q)
	key := q.header.Get(HeaderKey)
	if key == "" {
		return a, err
	}
	if p, ok := errors.AsType[*ProblemError](err); ok && p.Name() == "keys-full" && q.ownKey {
		// It was not made, and can be sent as one that is not repeated.
		q.header = q.header.Clone()
		q.header.Del(HeaderKey)
		return c.do(ctx, q)
	}
	if !uncertain(err) {
		return a, err
	}
	deadline := time.Now().Add(RepeatFor)
	for wait := minRepeat; ; wait = min(2*wait, maxRepeat) {
		pause := wait
		if p, ok := errors.AsType[*ProblemError](err); ok {
			pause = max(pause, p.RetryAfter)
		}
		if time.Now().Add(pause).After(deadline) {
			return nil, fmt.Errorf("%w (idempotency key %s): %w", ErrUncertain, key, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w (idempotency key %s): %w", ErrUncertain, key, ctx.Err())
		}
		if a, err = c.do(ctx, q); err == nil {
			return a, nil
		}
		if p, ok := errors.AsType[*ProblemError](err); ok && !p.Retryable {
			return nil, err // it was not made, and will not be
		}
	}
}

// maybeMade are the problems after which a write may have been made.
var maybeMade = []string{"timeout", "storage", "internal", "stopped"}

// uncertain reports whether a write may have been made although it failed.
func uncertain(err error) bool {
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return slices.Contains(maybeMade, p.Name())
	}
	if _, ok := errors.AsType[*UnreachableError](err); !ok {
		return false
	}
	op, ok := errors.AsType[*net.OpError](err)
	return !ok || op.Op != "dial"
}
