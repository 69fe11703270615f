package bench

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Visibility tells how soon a write is visible in another region: from its
// acknowledgement, and from when it was sent, until a read with its token was
// answered there. A round trip to that region is part of both.
type Visibility struct {
	From         string  `json:"from"`
	To           string  `json:"to"`
	Acknowledged Latency `json:"since_acknowledged"`
	Sent         Latency `json:"since_sent"`
}

// A follower writes documents and looks when they are visible elsewhere. It
// starts them at a fixed rate, whatever became of the earlier ones.
type follower struct {
	load    *load
	targets []*target

	mu     sync.Mutex
	pairs  [][]pair // from, to
	failed int64
	missed int64 // for want of room
}

type pair struct{ acknowledged, sent *hdrhistogram.Histogram }

// maxFollowed bounds the writes that are followed at once.
const maxFollowed = 1000

func newFollower(l *load, targets []*target) *follower {
	f := &follower{load: l, targets: targets, pairs: make([][]pair, len(targets))}
	for i := range targets {
		f.pairs[i] = make([]pair, len(targets))
		for j := range targets {
			f.pairs[i][j] = pair{newHistogram(), newHistogram()}
		}
	}
	return f
}

// run follows writes until ctx ends, and then those that are under way.
func (f *follower) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	rng := rand.New(rand.NewPCG(f.load.cfg.Seed, 1<<32))
	tick := time.NewTicker(time.Duration(float64(time.Second) / f.load.cfg.Samples))
	defer tick.Stop()
	room := make(chan struct{}, maxFollowed)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case room <- struct{}{}:
			seed := rng.Uint64()
			wg.Go(func() {
				defer func() { <-room }()
				f.follow(i%len(f.load.targets), rand.New(rand.NewPCG(seed, 0)))
			})
		default:
			f.mu.Lock()
			f.missed++
			f.mu.Unlock()
		}
	}
}

// followed is how many documents the followed writes go to, beyond those of the load.
const followed = 1000

func (f *follower) follow(from int, rng *rand.Rand) {
	c := newCall()
	defer c.release()
	c.begin()
	key := -1 - rng.Int64N(followed)
	c.docsPath(f.load.cfg.Collection)
	c.path = appendKey(append(c.path, '/'), key)
	c.body = f.load.content.appendDocument(c.body, rng)
	c.req.Header.SetContentType(mediaJSON)
	sent := time.Now()
	if err := c.do(f.targets[from], http.MethodPut); err != nil {
		f.fail()
		return
	}
	acknowledged := time.Now()
	token := c.token()
	var wg sync.WaitGroup
	for to := range f.targets {
		if to != from {
			wg.Go(func() { f.see(from, to, key, token, sent, acknowledged) })
		}
	}
	wg.Wait()
}

func (f *follower) see(from, to int, key int64, token string, sent, acknowledged time.Time) {
	c := newCall()
	defer c.release()
	c.begin()
	c.docsPath(f.load.cfg.Collection)
	c.path = appendKey(append(c.path, '/'), key)
	c.after(token)
	if err := c.do(f.targets[to], http.MethodGet); err != nil {
		f.fail()
		return
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.pairs[from][to]
	_ = p.acknowledged.RecordValue(micros(now.Sub(acknowledged))) // within its bounds
	_ = p.sent.RecordValue(micros(now.Sub(sent)))
}

func (f *follower) fail() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed++
}

func (f *follower) report() (all []Visibility) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, row := range f.pairs {
		for j, p := range row {
			if p.sent.TotalCount() > 0 {
				all = append(all, Visibility{f.targets[i].name, f.targets[j].name, latencyOf(p.acknowledged), latencyOf(p.sent)})
			}
		}
	}
	return all
}
