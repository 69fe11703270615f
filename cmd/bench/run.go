package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// A run is one benchmark from its beginning to its end.
type run struct {
	*load
	all      []*target
	follower *follower
	readers  *readers // nil unless the workload has feeds
	report   *Report
}

// Run measures. When ctx ends early there is no report.
func Run(ctx context.Context, cfg Config) (rep *Report, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	addrs := cfg.Addrs
	if len(addrs) == 0 {
		l, err := startLocal(ctx, &cfg)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.stop()) }()
		addrs = l.urls()
	}
	r, err := newRun(&cfg, addrs)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.measure(ctx); err != nil {
		return nil, err
	}
	return r.report, nil
}

func newRun(cfg *Config, addrs []string) (*run, error) {
	w, _ := workloadOf(cfg.Workload)
	r := &run{
		load: &load{
			cfg: cfg, workload: w, keys: newKeyspace(cfg.Keys, cfg.Records), content: newContent(cfg),
			meter: newMeter(), pushed: make([]atomic.Int64, cfg.Records),
		},
		report: newReport(cfg),
	}
	if w.mix[0].op != opPush {
		r.pushed = nil
	}
	for _, addr := range addrs {
		// The followed writes and the looks go beside the clients.
		t, err := newTarget(addr, cfg.Clients+2*maxFollowed)
		if err != nil {
			return nil, err
		}
		r.all = append(r.all, t)
	}
	r.targets = r.all
	if cfg.To == ToFirst {
		r.targets = r.all[:1]
	}
	return r, nil
}

func (r *run) close() {
	for _, t := range r.all {
		t.close()
	}
}

// prepare makes the collection and what is in it, in all regions.
func (r *run) prepare(ctx context.Context) error {
	first, err := look(ctx, r.all)
	if err != nil {
		return err
	}
	for i, t := range r.all {
		t.name = first.regions[i].Region
	}
	token, err := r.makeCollection()
	if err != nil {
		return err
	}
	if !r.workload.empty {
		if token, err = r.fill(ctx); err != nil {
			return err
		}
	}
	for _, t := range r.all {
		c := newCall()
		c.begin()
		c.path = append(c.path, "/v1/collections/"+url.PathEscape(r.cfg.Collection)...)
		c.after(token)
		err := c.do(t, http.MethodGet)
		c.release()
		if err != nil {
			return fmt.Errorf("wait until %s has what was loaded: %w", t.name, err)
		}
	}
	return ctx.Err()
}

// makeCollection makes the collection unless it is there. One of another type is refused.
func (r *run) makeCollection() (token string, err error) {
	c := newCall()
	defer c.release()
	c.begin()
	c.path = append(c.path, "/v1/collections/"+url.PathEscape(r.cfg.Collection)...)
	c.body = fmt.Appendf(c.body, `{"type":%q}`, r.cfg.Type)
	c.req.Header.SetContentType(mediaJSON)
	if err := c.do(r.all[0], http.MethodPut); err != nil {
		return "", fmt.Errorf("make the collection %s: %w", r.cfg.Collection, err)
	}
	return c.token(), nil
}

// Documents are loaded by a few clients in batches.
const (
	fillers   = 4
	fillBytes = 256 << 10
	fillDocs  = 500
)

// fill writes the documents that the load begins with.
func (r *run) fill(ctx context.Context) (token string, err error) {
	var (
		next, done atomic.Int64
		wg         sync.WaitGroup
		mu         sync.Mutex
	)
	batch := int64(min(max(fillBytes/r.cfg.Size, 1), fillDocs))
	start := time.Now()
	stop := r.tell(ctx, func(p *Progress) {
		p.Phase, p.Done, p.Total = phaseLoading, int(done.Load()), r.cfg.Records
	})
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i := range fillers {
		wg.Go(func() {
			w := &worker{load: r.load, target: r.all[0], rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(i)+1<<33)), call: newCall()}
			defer w.call.release()
			for ctx.Err() == nil {
				from := next.Add(batch) - batch
				to := min(from+batch, int64(r.cfg.Records))
				if from >= to {
					return
				}
				if err := w.fill(ctx, from, to); err != nil {
					cancel(fmt.Errorf("load documents: %w", err))
					return
				}
				done.Add(to - from)
				mu.Lock()
				token = w.call.token()
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	r.report.Loaded = Loaded{Documents: r.cfg.Records, Seconds: time.Since(start).Seconds()}
	// The token of whoever was last need not cover the others' writes.
	c := newCall()
	defer c.release()
	c.begin()
	c.path = append(c.path, "/v1/collections/"+url.PathEscape(r.cfg.Collection)...)
	if err := c.do(r.all[0], http.MethodGet); err != nil {
		return "", fmt.Errorf("read the collection %s: %w", r.cfg.Collection, err)
	}
	return c.token(), nil
}

// fill writes some documents, again as long as the region says that it is busy.
func (w *worker) fill(ctx context.Context, from, to int64) error {
	for {
		c := w.call
		c.begin()
		c.path = append(c.path, "/v1/batch"...)
		c.body = append(c.body, `{"docs":[`...)
		for key := from; key < to; key++ {
			if key > from {
				c.body = append(c.body, ',')
			}
			c.body = w.appendItem(c.body, key)
		}
		c.body = append(c.body, `]}`...)
		c.req.Header.SetContentType(mediaJSON)
		err := c.do(w.target, http.MethodPost)
		var f *failure
		if err == nil || !errors.As(err, &f) || f.retry == 0 {
			return err
		}
		if !pause(ctx, min(f.retry, maxBackOff)) {
			return ctx.Err()
		}
	}
}

// tell reports progress about once a second until stop is called.
func (r *run) tell(ctx context.Context, fill func(*Progress)) (stop func()) {
	if r.cfg.Progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p := Progress{Elapsed: time.Since(start)}
				fill(&p)
				r.cfg.Progress(p)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// measure runs the load and sums up.
func (r *run) measure(ctx context.Context) error {
	cfg := r.cfg
	whole, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	if r.workload.feeds {
		if err := r.openFeeds(ctx); err != nil {
			return err
		}
		defer r.readers.stop()
	}
	wg.Go(func() { r.work(whole) })
	stop := r.tell(whole, func(p *Progress) {
		p.Phase, p.Of = phaseWarming, cfg.Warmup
		if p.Elapsed > cfg.Warmup {
			p.Phase, p.Elapsed, p.Of = phaseMeasuring, p.Elapsed-cfg.Warmup, cfg.Duration
		}
		r.meter.interval(p, time.Second)
	})
	defer stop()
	if !pause(whole, cfg.Warmup) {
		wg.Wait()
		return ctx.Err()
	}
	before, err := look(whole, r.all)
	if err != nil {
		cancel()
		wg.Wait()
		return err
	}
	r.meter.reset()
	r.payload.Store(0)
	r.written.Store(0)
	if r.readers != nil {
		r.readers.begin(time.Now())
	}
	if len(r.all) > 1 && cfg.Samples > 0 {
		r.follower = newFollower(r.load, r.all)
		wg.Go(func() { r.follower.run(whole) })
	}
	begin := time.Now()
	pause(whole, cfg.Duration)
	r.report.operations(r.load, time.Since(begin))
	if r.readers != nil {
		r.report.Feeds = r.readers.report(r.report.Seconds)
	}
	after, err := look(ctx, r.all)
	cancel()
	wg.Wait()
	stop()
	if err != nil {
		return err
	}
	drained, last, err := r.drain(ctx)
	if err != nil {
		return err
	}
	r.report.replication(r.load, before, after, last, drained)
	if r.follower != nil {
		r.report.Visible, r.report.Unfollowed = r.follower.report(), r.follower.failed+r.follower.missed
	}
	return r.check(ctx)
}

const (
	drainWithin = 2 * time.Minute
	drainPoll   = 10 * time.Millisecond
)

// drain waits until all regions hold the same.
func (r *run) drain(ctx context.Context) (took time.Duration, s snapshot, err error) {
	start := time.Now()
	var lag atomic.Uint64
	stop := r.tell(ctx, func(p *Progress) { p.Phase, p.Lag = phaseDraining, lag.Load() })
	defer stop()
	for {
		if s, err = look(ctx, r.all); err != nil {
			return 0, s, err
		}
		behind := s.anywhere() - s.everywhere()
		took := time.Since(start)
		if behind == 0 {
			return took, s, nil
		}
		if took > drainWithin {
			return took, s, fmt.Errorf("after %v the regions still lack %d changes of each other", drainWithin, behind)
		}
		lag.Store(behind)
		if !pause(ctx, drainPoll) {
			return took, s, ctx.Err()
		}
	}
}

// check compares the sums of counters with what was acknowledged, in every region.
func (r *run) check(ctx context.Context) error {
	if r.readers != nil {
		return r.checkFeeds(ctx)
	}
	if r.workload.mix[0].op != opIncrement {
		return nil
	}
	for _, t := range r.all {
		sum, err := r.sum(ctx, t)
		if err != nil {
			return err
		}
		least := r.counted.Load()
		if most := least + r.unknown.Load(); sum < least || sum > most {
			return fmt.Errorf("%w: %s counts %d, and %d to %d were acknowledged", ErrWrong, t.name, sum, least, most)
		}
	}
	r.report.Checked = fmt.Sprintf("%d increments were acknowledged, and every region counts them", r.counted.Load())
	return nil
}

// ErrWrong is wrapped when a region does not hold what was acknowledged.
var ErrWrong = errors.New("wrong sum")

func (r *run) sum(ctx context.Context, t *target) (sum int64, err error) {
	c := newCall()
	defer c.release()
	for key := range int64(r.cfg.Records) {
		c.begin()
		c.docsPath(r.cfg.Collection)
		c.path = appendKey(append(c.path, '/'), key)
		if err := c.do(t, fasthttp.MethodGet); err != nil {
			return 0, fmt.Errorf("read a counter: %w", err)
		}
		n, err := counterIn(c.res.Body())
		if err != nil {
			return 0, err
		}
		sum += n
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return sum, nil
}
