package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Feeds is how changes were delivered to the readers of change feeds.
type Feeds struct {
	Readers int `json:"readers"`
	// PerSecond is how many changes were delivered, to all readers together.
	PerSecond  float64    `json:"per_second"`
	Deliveries []Delivery `json:"deliveries"`
	// Interrupted is how often a feed ended early and went on.
	Interrupted int64 `json:"interrupted,omitempty"`
}

// A Delivery is how long it took from when a write was sent to one region until a
// reader in one, the same or another, had its change.
type Delivery struct {
	From string `json:"from"`
	To   string `json:"to"`
	Latency
}

// sentMember begins the member of a document that says when it was sent, in Unix
// nanoseconds.
const sentMember = `"t":`

// Bounds of a reader.
const (
	openWithin  = 60 * time.Second
	openAtOnce  = 64 // that are opened at the same time
	readerBytes = 8 << 10
	maxEvent    = 8 << 20
	reopenAfter = 100 * time.Millisecond
)

// readers follow the changes of the collection.
type readers struct {
	load   *load
	all    []*reader
	client *http.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	from        atomic.Int64 // what was sent since then is measured, in Unix nanoseconds
	interrupted atomic.Int64
	gauges      []*gauge // of each region
}

// A gauge measures what the readers of a region get.
type gauge struct {
	to string
	mu sync.Mutex
	by map[string]*hdrhistogram.Histogram // where it was written
}

// A reader is one feed.
type reader struct {
	*readers
	target *target
	gauge  *gauge
	got    atomic.Int64 // writes of this run
	id     string       // of the last event
	opened bool
}

// openFeeds starts the readers, and returns when each has its place in the feed.
func (r *run) openFeeds(ctx context.Context) error {
	f := &readers{
		load: r.load, client: &http.Client{Transport: &http.Transport{DisableCompression: true, Proxy: http.ProxyFromEnvironment}},
	}
	r.readers = f
	for _, t := range r.all {
		f.gauges = append(f.gauges, &gauge{to: t.name, by: map[string]*hdrhistogram.Histogram{}})
	}
	whole, cancel := context.WithCancel(ctx)
	f.cancel = cancel
	var count atomic.Int64
	stop := r.tell(ctx, func(p *Progress) {
		p.Phase, p.Done, p.Total, p.Unit = phaseFeeds, int(count.Load()), r.cfg.Readers, "feeds"
	})
	defer stop()
	opened := make(chan error, r.cfg.Readers)
	slots := make(chan struct{}, openAtOnce)
	for i := range r.cfg.Readers {
		rd := &reader{readers: f, target: r.all[i%len(r.all)], gauge: f.gauges[i%len(r.all)]}
		f.all = append(f.all, rd)
		f.wg.Go(func() {
			slots <- struct{}{}
			rd.run(whole, sync.OnceFunc(func() { <-slots }), opened)
		})
	}
	patience := time.NewTimer(openWithin)
	defer patience.Stop()
	for range f.all {
		select {
		case err := <-opened:
			if err != nil {
				f.stop()
				return fmt.Errorf("open %d feeds: %w", r.cfg.Readers, err)
			}
			count.Add(1)
		case <-patience.C:
			f.stop()
			return fmt.Errorf("of %d feeds only %d were open after %v", r.cfg.Readers, count.Load(), openWithin)
		case <-ctx.Done():
			f.stop()
			return ctx.Err()
		}
	}
	return nil
}

// stop ends the readers and waits for them.
func (f *readers) stop() {
	f.cancel()
	f.wg.Wait()
	f.client.CloseIdleConnections()
}

// run follows the feed until ctx ends. It tells once whether it could be opened;
// when it ends after that it is opened again where it was.
func (r *reader) run(ctx context.Context, leave func(), opened chan<- error) {
	ready := func() {
		leave()
		if !r.opened {
			r.opened = true
			opened <- nil
		}
	}
	for {
		err := r.follow(ctx, ready)
		leave()
		if ctx.Err() != nil {
			return
		}
		if !r.opened {
			opened <- err
			return
		}
		r.interrupted.Add(1)
		if !pause(ctx, reopenAfter) {
			return
		}
	}
}

// errFeedEnded says that the region has ended a feed.
var errFeedEnded = errors.New("the feed has ended")

// follow reads the feed from behind the last event to its end.
func (r *reader) follow(ctx context.Context, ready func()) error {
	u := r.target.base + "/v1/collections/" + url.PathEscape(r.load.cfg.Collection) + "/changes?feed=1"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if r.id != "" {
		req.Header.Set("Last-Event-ID", r.id)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		f := &failure{status: res.StatusCode, kind: http.StatusText(res.StatusCode)}
		var problem struct {
			Type string `json:"type"`
		}
		if json.NewDecoder(res.Body).Decode(&problem) == nil && problem.Type != "" {
			f.kind = path.Base(problem.Type)
		}
		return f
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, readerBytes), maxEvent)
	for lines.Scan() {
		line := lines.Bytes()
		if id, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			r.id = string(id)
			ready()
		} else if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			r.event(data, time.Now())
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errFeedEnded
}

// event takes a change, if it is one of this run's.
func (r *reader) event(data []byte, now time.Time) {
	_, rest, ok := bytes.Cut(data, []byte(sentMember))
	if !ok {
		return
	}
	end := bytes.IndexAny(rest, ",}")
	if end < 0 {
		return
	}
	sent, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return
	}
	r.got.Add(1)
	if from := r.from.Load(); from == 0 || sent < from {
		return
	}
	_, rest, _ = bytes.Cut(data, []byte(`"region":"`))
	origin, _, _ := bytes.Cut(rest, []byte{'"'})
	r.gauge.record(origin, now.Sub(time.Unix(0, sent)))
}

func (g *gauge) record(origin []byte, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.by[string(origin)]
	if h == nil {
		h = newHistogram()
		g.by[string(origin)] = h
	}
	_ = h.RecordValue(micros(took)) // within its bounds
}

// begin says from when on deliveries are measured.
func (f *readers) begin(at time.Time) { f.from.Store(at.UnixNano()) }

// report sums up what was delivered in so many seconds.
func (f *readers) report(seconds float64) *Feeds {
	out := &Feeds{Readers: len(f.all), Interrupted: f.interrupted.Load()}
	var n int64
	for _, g := range f.gauges {
		g.mu.Lock()
		for from, h := range g.by {
			out.Deliveries = append(out.Deliveries, Delivery{from, g.to, latencyOf(h)})
			n += h.TotalCount()
		}
		g.mu.Unlock()
	}
	slices.SortFunc(out.Deliveries, func(a, b Delivery) int { return strings.Compare(a.From+"\x00"+a.To, b.From+"\x00"+b.To) })
	out.PerSecond = float64(n) / seconds
	return out
}

// checkFeeds waits until every reader has had every write that was acknowledged.
func (r *run) checkFeeds(ctx context.Context) error {
	least := r.counted.Load()
	most := least + r.unknown.Load()
	start := time.Now()
	for i := 0; i < len(r.readers.all); {
		rd := r.readers.all[i]
		got := rd.got.Load()
		switch {
		case got > most:
			return fmt.Errorf("%w: a feed of %s told of %d changes, and %d to %d were made", ErrWrong, rd.target.name, got, least, most)
		case got >= least:
			i++
			continue
		case time.Since(start) > drainWithin:
			return fmt.Errorf("%w: after %v a feed of %s has told of %d changes, and %d were acknowledged", ErrWrong, drainWithin, rd.target.name, got, least)
		}
		if !pause(ctx, drainPoll) {
			return ctx.Err()
		}
	}
	r.report.Checked = fmt.Sprintf("%d writes were acknowledged, and each of %s had them all", least, plural(len(r.readers.all), "reader"))
	return nil
}
