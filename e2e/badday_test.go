package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/e2e/cluster"
)

// keepWriting writes documents of their own to each region through whatever
// befalls it, until stop is called: a write that fails is not made again. From now on
// the regions stay at their addresses when they are started again.
func keepWriting(t *testing.T, c *cluster.Cluster, l *ledger, clients int) (stop func()) {
	t.Helper()
	var wg sync.WaitGroup
	done := make(chan struct{})
	for _, n := range c.Nodes {
		pin(n)
		cl, err := client.New(n.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		for w := range clients {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					id, doc := fmt.Sprintf("%s-%d-%d", n.Region, w, i), fmt.Sprintf(`{"i":%d}`, i)
					receipt, err := cl.Put(t.Context(), "ledger", id, []byte(doc), client.WriteOptions{})
					if err != nil {
						time.Sleep(10 * time.Millisecond) // it is down: not a loop that only burns
						continue
					}
					if err := l.acked(id, doc, fmt.Appendf(nil, `{"dot":%q}`, receipt.Dot)); err != nil {
						t.Errorf("%s: %v", id, err)
					}
				}
			})
		}
	}
	return sync.OnceFunc(func() { close(done); wg.Wait() })
}

// pin lets a region keep its address when it is started again, as behind a name.
func pin(n *cluster.Node) { n.SetArg("--http", strings.TrimPrefix(n.URL(), "http://")) }

// Regions are killed and started again and again, some in the middle of starting,
// and all at once, while clients go on. Nothing acknowledged is lost, no dot is
// used twice, and no replica is given up.
func TestBadDayRestartStorm(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "ledger", `{}`)
	l := newLedger()
	replicas := map[string]string{}
	for _, n := range c.Nodes {
		replicas[n.Region] = n.MustCluster(t).Replica
	}
	stop := keepWriting(t, c, l, 2)
	defer stop()
	rng := rand.New(rand.NewPCG(5, 5))
	for round := range size(4, 30) {
		l.await(t, 60)
		victims := []*cluster.Node{c.Nodes[rng.IntN(len(c.Nodes))]}
		if round%2 == 1 {
			victims = c.Nodes // all at once
		}
		for _, n := range victims {
			n.Kill(t)
		}
		for _, n := range victims {
			n.Start(t) // it answers, and is not yet ready
			n.Kill(t)
			n.Start(t)
		}
		for _, n := range victims {
			n.AwaitReady(t)
		}
	}
	l.await(t, 60)
	stop()
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
		if now := n.MustCluster(t).Replica; now != replicas[n.Region] {
			t.Errorf("%s was replica %s and is %s", n.Region, replicas[n.Region], now)
		}
	}
	t.Logf("%d writes were acknowledged", len(l.docs))
}

// Regions are restarted one after the other, as for an upgrade. A client that
// knows all of them sees no failure.
func TestBadDayRollingRestart(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "rolling", `{}`)
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL())
	}
	type outcome struct {
		written int
		err     error
	}
	done, result := make(chan struct{}), make(chan outcome, 1)
	cl, err := client.Open(t.Context(), urls...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	id := func(i int) string { return fmt.Sprint("d", i) }
	var mu sync.Mutex
	written := 0
	go func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				result <- outcome{i, nil}
				return
			default:
			}
			if _, err := cl.Put(t.Context(), "rolling", id(i), []byte(fmt.Sprintf(`{"i":%d}`, i)), client.WriteOptions{Repeat: true}); err != nil {
				result <- outcome{i, err}
				return
			}
			mu.Lock()
			written = i + 1
			mu.Unlock()
		}
	}()
	more := func() {
		t.Helper()
		mu.Lock()
		goal := written + 30
		mu.Unlock()
		cluster.Await(t, cluster.Patience, "writes to go on", func() (bool, string) {
			mu.Lock()
			defer mu.Unlock()
			return written >= goal || len(result) > 0, fmt.Sprint(written)
		})
	}
	for _, n := range c.Nodes {
		more()
		pin(n)
		if status := n.Stop(t); status != 0 {
			t.Errorf("%s ends with %d", n.Region, status)
		}
		more()
		n.Start(t)
		n.AwaitReady(t)
	}
	more()
	close(done)
	got := <-result
	if got.err != nil {
		t.Fatalf("after %d writes: %v", got.written, got.err)
	}
	c.AwaitSame(t)
	for i := range got.written {
		if text := c.Nodes[i%len(c.Nodes)].Get(t, "rolling", id(i)).Text(); text != fmt.Sprintf(`{"i":%d}`, i) {
			t.Errorf("%s is %s", id(i), text)
		}
	}
	t.Logf("%d writes, none failed", got.written)
}

// Clocks jump by an hour, either way: what was written later having seen the
// earlier stays later, the clock is not stuck, and the jump is reported.
func TestBadDayClockJumps(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "clock", `{"policy":"lww"}`)
	a, b, far := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	jump := func(n *cluster.Node, offset string) {
		t.Helper()
		n.Must(t, cluster.Request{Method: http.MethodPut, Path: "/v1/faults/clock", Body: fmt.Sprintf(`{"offset":%q}`, offset)}, http.StatusOK)
	}
	offsetOf := func(at, of *cluster.Node) float64 {
		t.Helper()
		var s struct {
			Regions []struct {
				Region string  `json:"region"`
				Offset float64 `json:"clock_offset_ms"`
			} `json:"regions"`
		}
		cluster.Decode(t, at.Must(t, cluster.Request{Path: "/v1/cluster"}, http.StatusOK).Body, &s)
		for _, r := range s.Regions {
			if r.Region == of.Region {
				return r.Offset
			}
		}
		t.Fatalf("%s does not know %s", at.Region, of.Region)
		return 0
	}
	last := ""
	for i, offset := range []time.Duration{time.Hour, -time.Hour, 0} {
		jump(a, offset.String())
		cluster.Await(t, cluster.Patience, "the jump to be reported", func() (bool, string) {
			ms := offsetOf(b, a)
			return (time.Duration(ms)*time.Millisecond - offset).Abs() < time.Minute, fmt.Sprint(ms, " ms")
		})
		// Two regions in turn replace what they have seen of each other.
		for k := range 6 {
			n, other := a, b
			if k%2 == 1 {
				n, other = b, a
			}
			last = fmt.Sprintf(`{"by":%q,"n":%d}`, n.Region, 10*i+k)
			token := n.Put(t, "clock", "d", last).Token()
			if got := other.GetAfter(t, token, "clock", "d").Text(); got != last {
				t.Fatalf("with %s %v off: %s has %s, and %s was written after it had been seen", a.Region, offset, other.Region, got, last)
			}
		}
	}
	c.AwaitSame(t)
	if got := far.Get(t, "clock", "d").Text(); got != last {
		t.Errorf("%s has %s, not %s", far.Region, got, last)
	}
}

// A folder that a later version wrote is refused, with a message that says what to
// do, and is left as it is.
func TestBadDayFolderOfANewerFormat(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
	n := c.Nodes[0]
	n.Put(t, "docs", "d", `{}`)
	n.Stop(t)
	file := filepath.Join(n.Data, "FORMAT")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const newer = "meridian store 99\n"
	if err := os.WriteFile(file, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{
			"serve", "--region", n.Region, "--cluster", cluster.Name, "--tls-dir", c.TLS,
			"--data", n.Data, "--http", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0",
		},
		{"verify", n.Data},
	} {
		_, stderr, status := cluster.Run(t, args...)
		if status != 1 || !strings.Contains(stderr, "format 99") || !strings.Contains(stderr, n.Data) {
			t.Errorf("%s ends with %d: %s", args[0], status, stderr)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != newer {
		t.Errorf("the folder was changed: %q, %v", got, err)
	}
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	n.Start(t)
	n.AwaitReady(t)
	n.Get(t, "docs", "d")
}
