package bulk

import (
	"context"
	"errors"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// The wait before a request is repeated doubles from the first to the second.
const (
	minWait = 200 * time.Millisecond
	maxWait = 5 * time.Second
)

// retry repeats do while the region does not answer or asks to wait, for at most
// so long. tell, which may be nil, hears of each wait.
func retry(ctx context.Context, atMost time.Duration, tell func(error, time.Duration), do func() error) error {
	var deadline time.Time
	wait := minWait
	for {
		err := do()
		if err == nil || !repeatable(err) || ctx.Err() != nil {
			return err
		}
		next := wait
		if p, ok := errors.AsType[*client.ProblemError](err); ok {
			next = max(next, p.RetryAfter)
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(atMost)
		}
		if time.Now().Add(next).After(deadline) {
			return err
		}
		if tell != nil {
			tell(err, next)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, maxWait)
	}
}

func repeatable(err error) bool {
	if p, ok := errors.AsType[*client.ProblemError](err); ok {
		return p.Retryable
	}
	_, ok := errors.AsType[*client.UnreachableError](err)
	return ok
}
