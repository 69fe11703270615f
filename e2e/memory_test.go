package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// memoryBound is what a region with an absent peer may take, without the files of its store
// that are mapped, which the system can have back. It does not depend on how much
// the peer lacks; the figures are printed.
const memoryBound = 1 << 30

// A gauge samples the memory that a region has taken until it is stopped.
type gauge struct {
	stop    chan struct{}
	done    sync.WaitGroup
	samples []int64
}

// sampleEvery is how often a gauge looks.
const sampleEvery = 50 * time.Millisecond

func newGauge(t *testing.T, n *cluster.Node) *gauge {
	t.Helper()
	g := &gauge{stop: make(chan struct{})}
	sample := func() {
		taken, _ := n.Memory(t)
		g.samples = append(g.samples, taken)
	}
	sample()
	g.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-g.stop:
				return
			case <-tick.C:
				sample()
			}
		}
	})
	return g
}

// end stops the gauge and tells what it has seen.
func (g *gauge) end() (peak int64, text string) {
	close(g.stop)
	g.done.Wait()
	half := int64(0)
	for i, s := range g.samples {
		peak = max(peak, s)
		if i <= len(g.samples)/2 {
			half = peak
		}
	}
	return peak, fmt.Sprintf("%d MiB at first, at most %d MiB in the first half and %d MiB in all",
		g.samples[0]>>20, half>>20, peak>>20)
}

// writeMany writes n documents of about size bytes as fast as the regions take
// them, over so many ids.
func writeMany(t *testing.T, nodes []*cluster.Node, collection string, n, ids, bytes int) time.Duration {
	t.Helper()
	const clients = 64
	text := make([]byte, bytes)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				q := cluster.PutRequest(collection, fmt.Sprint(i%ids), fmt.Sprintf(`{"n":%d,"text":%q}`, i, text))
				if _, err := nodes[i%len(nodes)].Try(t.Context(), q, http.StatusOK, http.StatusCreated); err != nil {
					if failed.Add(1) == 1 {
						t.Errorf("write %d: %v", i, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if f := failed.Load(); f > 0 {
		t.Errorf("%d of %d writes failed", f, n)
	}
	return time.Since(start)
}

func TestI08_MemoryStaysBoundedWhileAPeerIsAway(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "away", `{}`)
	a, away := c.Nodes[0], c.Nodes[2]
	writeMany(t, c.Nodes, "away", 2000, 500, 200) // caches and connections are there
	c.AwaitEqual(t)
	away.Kill(t)
	n := size(10_000, 200_000)

	writer, other := newGauge(t, a), newGauge(t, c.Nodes[1])
	took := writeMany(t, []*cluster.Node{a}, "away", n, n/2, 200)
	c.AwaitEqual(t, a, c.Nodes[1])
	peak, text := writer.end()
	t.Logf("%d writes in %v (%.0f/s) with a peer away: the writing region: %s", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), text)
	_, text = other.end()
	t.Logf("the region that follows: %s", text)

	start := time.Now()
	away.Start(t)
	writer, returned := newGauge(t, a), newGauge(t, away)
	away.AwaitReady(t)
	c.AwaitEqual(t)
	caught := time.Since(start)
	peak2, text := writer.end()
	peak3, back := returned.end()
	t.Logf("the peer has caught up with %d changes in %v (%.0f/s); the serving region: %s; the returned one: %s",
		n, caught.Round(time.Millisecond), float64(n)/caught.Seconds(), text, back)
	if worst := max(peak, peak2, peak3); worst > memoryBound {
		t.Errorf("a region has taken %d MiB, more than %d", worst>>20, memoryBound>>20)
	}
	c.AwaitSame(t)
}

// batchDocs is how many documents a big batch has.
const batchDocs = 200

// bigBatch writes documents of a kilobyte.
func bigBatch(i int) cluster.Request {
	var b strings.Builder
	b.WriteString(`{"docs":[`)
	for k := range batchDocs {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"collection":"away","id":"%d-%d","put":{"i":%d,"text":%q}}`, i, k, i, strings.Repeat("meridian", 120))
	}
	b.WriteString(`]}`)
	return cluster.Request{Method: http.MethodPost, Path: "/v1/batch", Body: b.String()}
}

// While a peer catches up live writes are not held up by it.
func TestI08_CatchUpDoesNotDelayLiveWrites(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "away", `{}`)
	a, b, away := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	away.Kill(t)
	batches := size(200, 1000)
	for i := range batches {
		a.Must(t, bigBatch(i), http.StatusOK)
	}
	away.Start(t)
	behind := 0
	var live cluster.Sample
	start := time.Now()
	for i := 0; ; i++ {
		at := time.Now()
		token := a.Put(t, "live", "d", fmt.Sprintf(`{"i":%d}`, i)).Token()
		b.GetAfter(t, token, "live", "d")
		live = append(live, time.Since(at))
		ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
		s, err := away.Cluster(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		missing := uint64(0)
		for replica, seq := range a.MustCluster(t).Vector {
			missing += seq - min(seq, s.Vector[replica])
		}
		if missing < 5 {
			break
		}
		behind++
		if time.Since(start) > cluster.Patience {
			t.Fatalf("%s still lacks %d changes", away.Region, missing)
		}
	}
	t.Logf("%d documents of 1 KB caught up in %v; meanwhile a write was visible in the other region after: %v",
		batches*batchDocs, time.Since(start).Round(time.Millisecond), live)
	if slowest := live.Quantile(1); slowest > sane {
		t.Errorf("a live write took %v", slowest)
	}
	if behind == 0 {
		t.Log("the peer had caught up before the first live write")
	}
	c.AwaitSame(t)
}
