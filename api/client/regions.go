package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// regions are the addresses of several regions, nearest first.
type regions struct {
	mu    sync.Mutex
	order []string
	down  map[string]time.Time // up to when one that failed is asked last
}

const (
	// ProbeTimeout bounds how long Open and Nearest wait for the first region to answer.
	ProbeTimeout = 5 * time.Second
	// probes is how many round trips are measured. The least counts: what is more
	// is the region's or the machine's being busy.
	probes = 3
	// probeGrace is what the other regions get beyond twice the time of the
	// first that was measured. Who takes longer is far away.
	probeGrace = 20 * time.Millisecond
	// downFor is for how long a region that failed is asked after all others.
	downFor = 5 * time.Second
)

// Open returns a client of several regions, whose round trips it measures. A
// request goes to the nearest that is up, and the session's token along with
// it. If that one fails, the next is asked where that is safe:
//
//   - a read always is;
//   - a write is when it has not reached the region, or when the region says
//     that it has not made it: that it is busy, fenced, full, catching up, not
//     ready, or behind the token.
//
// Any other write may have been made, and made once more in another region it
// could count twice: two regions that insert the same element of a list
// insert two. Under an idempotency key (WriteOptions) it is sent to the same
// region again, for RepeatFor; else, or if that does not help, its error is
// returned. Conditions of a write are checked by the region that takes it.
func Open(ctx context.Context, addrs ...string) (*Client, error) {
	if len(addrs) == 0 {
		return nil, errors.New("no address of a region is given")
	}
	c, err := New(addrs[0])
	if err != nil || len(addrs) == 1 {
		return c, err
	}
	r := &regions{down: map[string]time.Time{}}
	for _, addr := range addrs {
		base, err := baseURL(addr)
		if err != nil {
			return nil, err
		}
		r.order = append(r.order, base)
	}
	c.regions = r
	if err := c.Measure(ctx); err != nil {
		return nil, err
	}
	c.base = r.order[0] // where feeds come from
	return c, nil
}

// Nearest returns a client of the nearest of several regions, and of no other.
// It is only asked whether it is ready if there are several.
func Nearest(ctx context.Context, addrs ...string) (*Client, error) {
	c, err := Open(ctx, addrs...)
	if err != nil || c.regions == nil {
		return c, err
	}
	return c.At(c.Addr())
}

// Measure measures the round trips to the regions anew, for programs that run
// for long. Regions that do not answer come last. It fails if none is ready.
func (c *Client) Measure(ctx context.Context) error {
	if c.regions == nil {
		return c.Ready(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ProbeTimeout, fmt.Errorf("not within %v", ProbeTimeout))
	defer cancel()
	c.regions.mu.Lock()
	given := slices.Clone(c.regions.order)
	c.regions.mu.Unlock()
	type result struct {
		base string
		rtt  time.Duration
		err  error
	}
	results := make(chan result, len(given))
	began := time.Now()
	for _, base := range given {
		go func() {
			one := &Client{base: base, http: c.http, session: c.session}
			rtt, err := one.roundTrip(ctx)
			if err != nil && context.Cause(ctx) != nil && ctx.Err() != nil {
				err = &UnreachableError{Addr: base, Err: context.Cause(ctx)}
			}
			results <- result{base, rtt, err}
		}()
	}
	var measured []result
	var errs []error
	var grace *time.Timer
	for range given {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		if len(measured) == 0 {
			// Wait for all, but not for long.
			grace = time.AfterFunc(time.Since(began)+probeGrace, cancel)
		}
		measured = append(measured, r)
	}
	if grace != nil {
		grace.Stop()
	}
	if len(measured) == 0 {
		return fmt.Errorf("none of %d regions is ready: %w", len(given), errors.Join(errs...))
	}
	slices.SortStableFunc(measured, func(a, b result) int { return int(a.rtt - b.rtt) })
	order := make([]string, 0, len(given))
	for _, m := range measured {
		order = append(order, m.base)
	}
	for _, base := range given {
		if !slices.Contains(order, base) {
			order = append(order, base)
		}
	}
	c.regions.mu.Lock()
	defer c.regions.mu.Unlock()
	c.regions.order = order
	clear(c.regions.down)
	return nil
}

// roundTrip measures how long a region that is ready takes to say so.
func (c *Client) roundTrip(ctx context.Context) (time.Duration, error) {
	if err := c.Ready(ctx); err != nil { // makes the connection
		return 0, err
	}
	least := time.Duration(-1)
	for range probes {
		began := time.Now()
		if err := c.Ready(ctx); err != nil {
			return 0, err
		}
		if d := time.Since(began); least < 0 || d < least {
			least = d
		}
	}
	return least, nil
}

// candidates are the regions in the order in which they are to be asked.
func (r *regions) candidates() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	up, down := make([]string, 0, len(r.order)), []string(nil)
	for _, base := range r.order {
		if r.down[base].After(now) {
			down = append(down, base)
		} else {
			up = append(up, base)
		}
	}
	return append(up, down...)
}

func (r *regions) failed(base string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[base] = time.Now().Add(downFor)
}

// send sends a request to the nearest region, and on to the next as long as that is safe.
func (c *Client) send(ctx context.Context, q request) (*answer, error) {
	if c.regions == nil {
		return c.try(ctx, q)
	}
	var errs []error
	for _, base := range c.regions.candidates() {
		one := &Client{base: base, http: c.http, session: c.session}
		a, err := one.try(ctx, q)
		if err == nil {
			return a, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || !goesOn(q.method, err) {
			break
		}
		if !errors.Is(err, errLagging) {
			c.regions.failed(base)
		}
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, errors.Join(errs...)
}

// errLagging matches problems that say nothing of the region's next requests.
var errLagging = errors.New("lagging")

// notMade are the problems that say that nothing was written.
var notMade = []string{"busy", "fenced", "catching-up", "behind", "not-ready", "storage-full", "home-unreachable", "holders-unreachable"}

// goesOn reports whether another region may be asked after an error.
func goesOn(method string, err error) bool {
	if errors.Is(err, ErrUncertain) {
		return false
	}
	reads := method == http.MethodGet || method == http.MethodHead
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return reads && (p.Retryable || p.Status >= http.StatusInternalServerError) || slices.Contains(notMade, p.Name())
	}
	if _, ok := errors.AsType[*UnreachableError](err); !ok {
		return false
	}
	op, ok := errors.AsType[*net.OpError](err)
	return reads || ok && op.Op == "dial"
}
