package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A ledger keeps what was acknowledged: per document the last value, and all dots.
type ledger struct {
	mu   sync.Mutex
	docs map[string]string
	dots map[string]bool
	last map[string]uint64 // sequence number by replica
}

func newLedger() *ledger {
	return &ledger{docs: map[string]string{}, dots: map[string]bool{}, last: map[string]uint64{}}
}

var errDotTwice = errors.New("a dot was given out twice")

// acked enters the receipt of a write.
func (l *ledger) acked(id, doc string, receipt []byte) error {
	var r struct {
		Dot string `json:"dot"`
	}
	if err := decode(receipt, &r); err != nil {
		return err
	}
	seq, replica, err := parseDot(r.Dot)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dots[r.Dot] {
		return fmt.Errorf("%w: %s", errDotTwice, r.Dot)
	}
	l.dots[r.Dot] = true
	l.docs[id] = doc
	l.last[replica] = max(l.last[replica], seq)
	return nil
}

// parseDot reads its text.
func parseDot(s string) (seq uint64, replica string, err error) {
	text, replica, ok := strings.Cut(s, "@")
	if !ok {
		return 0, "", fmt.Errorf("%q is no dot", s)
	}
	seq, err = strconv.ParseUint(text, 10, 64)
	return seq, replica, err
}

// check demands that a region has all that was acknowledged.
func (l *ledger) check(t *testing.T, n *cluster.Node, collection string) {
	t.Helper()
	missing := 0
	for id, want := range l.docs {
		res := n.Must(t, cluster.Request{Path: cluster.DocPath(collection, id)}, http.StatusOK, http.StatusNotFound)
		if res.Status != http.StatusOK || res.Text() != want {
			if missing++; missing <= 3 {
				t.Errorf("%s was acknowledged as %s, %s has %d %s", id, want, n.Region, res.Status, res.Text())
			}
		}
	}
	if missing > 0 {
		t.Errorf("%s lacks %d of %d acknowledged writes", n.Region, missing, len(l.docs))
	}
	have := n.MustCluster(t).Vector
	for replica, seq := range l.last {
		if have[replica] < seq {
			t.Errorf("%s holds %d changes of %s, of which %d is acknowledged", n.Region, have[replica], replica, seq)
		}
	}
}

// writeUntil writes documents of their own to a region, by several clients,
// until stop is called, which waits for them.
func writeUntil(t *testing.T, n *cluster.Node, l *ledger, prefix string, clients int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range clients {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id, doc := fmt.Sprintf("%s-%d-%d", prefix, w, i), fmt.Sprintf(`{"i":%d,"w":%d}`, i, w)
				res, err := n.Try(ctx, cluster.PutRequest("ledger", id, doc), http.StatusCreated)
				if err != nil {
					return // killed, or to stop; not acknowledged
				}
				if err := l.acked(id, doc, res.Body); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// killAfter lets a region take this many acknowledged writes and kills it.
func killAfter(t *testing.T, n *cluster.Node, l *ledger, writes int) {
	t.Helper()
	l.await(t, writes)
	n.Kill(t)
}

// await waits until so many more writes are acknowledged.
func (l *ledger) await(t *testing.T, writes int) {
	t.Helper()
	l.mu.Lock()
	goal := len(l.docs) + writes
	l.mu.Unlock()
	cluster.Await(t, cluster.Patience, "writes to be acknowledged", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.docs) >= goal, fmt.Sprintf("%d of %d", len(l.docs), goal)
	})
}

// What a region acknowledged is on its own disk: it is killed while nobody
// else can have the writes, and read before it can have talked to anybody.
func TestI03_AcknowledgedWritesSurviveKillOfIsolatedRegion(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "ledger", `{}`)
	a := c.Nodes[0]
	replica := a.MustCluster(t).Replica
	l := newLedger()
	rng := rand.New(rand.NewPCG(3, 3))
	// The peers refuse the link, so that it stays cut when the region comes back.
	for _, p := range c.Others(a) {
		p.SetFault(t, a, cluster.FaultCut)
	}
	for round := range size(4, 30) {
		stop := writeUntil(t, a, l, strconv.Itoa(round), 8)
		killAfter(t, a, l, 100+rng.IntN(200))
		stop()
		a.Start(t)
		l.check(t, a, "ledger")
		s := a.MustCluster(t)
		if s.Replica != replica {
			t.Fatalf("the region came back as another replica: %s, it was %s", s.Replica, replica)
		}
		if len(s.Regions) != 2 || s.Regions[0].Link.State == "up" || s.Regions[1].Link.State == "up" {
			t.Fatalf("the region was not isolated: %+v", s.Regions)
		}
		// It goes on where it was, without a gap.
		a.AwaitReady(t)
		id := fmt.Sprintf("after-%d", round)
		res := a.Put(t, "ledger", id, `{}`)
		if err := l.acked(id, `{}`, res.Body); err != nil {
			t.Fatal(err)
		}
		seq, by, err := parseDot(cluster.Field[string](t, res.Body, "dot"))
		if err != nil || by != replica || seq != s.Vector[replica]+1 {
			t.Errorf("the first write after the restart is %d@%s (%v), the region held %d@%s", seq, by, err, s.Vector[replica], replica)
		}
	}
	for _, p := range c.Others(a) {
		p.SetFault(t, a, cluster.FaultNone)
	}
	took := c.AwaitEqual(t)
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}
	t.Logf("%d writes were acknowledged around %d kills, none is lost; equal %v after healing", len(l.docs), size(4, 30), took.Round(time.Millisecond))
}

func TestI06_KillUnderLoadKeepsSequencesAndVectors(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "ledger", `{}`)
	l := newLedger()
	rng := rand.New(rand.NewPCG(1, 6))
	for round := range size(4, 30) {
		victim := c.Nodes[rng.IntN(len(c.Nodes))]
		var stops []func()
		for _, n := range c.Nodes {
			stops = append(stops, writeUntil(t, n, l, fmt.Sprintf("%s-%d", n.Region, round), 4))
		}
		killAfter(t, victim, l, 150+rng.IntN(300))
		// The others notice nothing.
		l.mu.Lock()
		before := maps.Clone(l.last)
		l.mu.Unlock()
		cluster.Await(t, cluster.Patience, "the others to go on", func() (bool, string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			ahead := 0
			for replica, seq := range l.last {
				if seq >= before[replica]+20 {
					ahead++
				}
			}
			return ahead >= 2, fmt.Sprint(before, l.last)
		})
		victim.Start(t)
		l.mu.Lock()
		acked := maps.Clone(l.last)
		l.mu.Unlock()
		s := victim.MustCluster(t)
		if s.Vector[s.Replica] < acked[s.Replica] {
			t.Errorf("%s holds %d of its own changes, %d is acknowledged", victim.Region, s.Vector[s.Replica], acked[s.Replica])
		}
		victim.AwaitReady(t)
		for _, stop := range stops {
			stop()
		}
		took := c.AwaitEqual(t)
		t.Logf("%s killed under load: equal %v after the load ended", victim.Region, took.Round(time.Millisecond))
	}
	if docs := c.AwaitSame(t); docs < len(l.docs) {
		t.Errorf("%d documents, %d were acknowledged", docs, len(l.docs))
	}
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
		if v := n.MustCluster(t).Vector; len(v) != len(c.Nodes) {
			t.Errorf("%s knows %d replicas, there are %d", n.Region, len(v), len(c.Nodes))
		}
	}
}

// How the store of a region is put back to what it was before.
const (
	ofStopped = "copied while it was stopped"
	ofRunning = "copied while it ran"
	// unseen leaves the marker of the folder alone, as if the volume had been put back.
	unseen = "put back below the store's eyes"
)

// rollBack lets the first region write, and puts its store back to what it was
// before. The region is left ended. It returns what was acknowledged, and the
// replica that the store belongs to.
func rollBack(t *testing.T, c *cluster.Cluster, how string) (l *ledger, replica string) {
	t.Helper()
	c.MakeCollection(t, "ledger", `{}`)
	a := c.Nodes[0]
	l = newLedger()
	for i := range 20 {
		l.put(t, a, fmt.Sprintf("kept-%d", i))
	}
	c.AwaitEqual(t)
	replica = a.MustCluster(t).Replica
	part := a.Data
	if how == unseen {
		part = filepath.Join(a.Data, "badger")
	}
	if how == ofStopped {
		if status := a.Stop(t); status != 0 {
			t.Errorf("SIGTERM: exit status %d", status)
		}
	} else {
		a.Pause(t) // a copy of one moment, as after a kill
	}
	backup := filepath.Join(c.Dir, "backup")
	if err := os.CopyFS(backup, os.DirFS(part)); err != nil {
		t.Fatal(err)
	}
	if how == ofStopped {
		a.Start(t)
		a.AwaitReady(t)
	} else {
		a.Resume(t)
	}
	for i := range 20 {
		l.put(t, a, fmt.Sprintf("lost-%d", i))
	}
	c.AwaitEqual(t)
	a.Kill(t)
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, part); err != nil {
		t.Fatal(err)
	}
	return l, replica
}

// put writes a document and enters its receipt.
func (l *ledger) put(t *testing.T, n *cluster.Node, id string) {
	t.Helper()
	doc := fmt.Sprintf(`{"id":%q}`, id)
	if err := l.acked(id, doc, n.Put(t, "ledger", id, doc).Body); err != nil {
		t.Fatal(err)
	}
}

// A store that is put back to an earlier state must not use its dots again, also
// while it meets nobody.
func TestI02_StoreThatWasPutBackIsAnotherReplica(t *testing.T) {
	t.Parallel()
	for _, how := range []string{ofStopped, ofRunning} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := cluster.Start(t, cluster.Options{})
			a := c.Nodes[0]
			l, replica := rollBack(t, c, how)
			for _, p := range c.Others(a) {
				p.SetFault(t, a, cluster.FaultCut)
			}
			a.Start(t)
			a.AwaitLog(t, "this store was copied, or put back from a copy")
			// It has lost what is stable elsewhere: it takes no writes before it has it back.
			refused := a.Must(t, cluster.PutRequest("ledger", "alone", `{}`), http.StatusServiceUnavailable)
			t.Logf("while it meets nobody: %s", refused.Text())
			a.Get(t, "ledger", "kept-0")
			next := a.MustCluster(t).Replica
			a.Kill(t)
			a.Start(t) // and is no other replica again
			a.Must(t, cluster.PutRequest("ledger", "alone", `{}`), http.StatusServiceUnavailable)
			l.put(t, c.Nodes[1], "meanwhile")
			for _, p := range c.Others(a) {
				p.SetFault(t, a, cluster.FaultNone)
			}
			a.AwaitReady(t)
			l.check(t, a, "ledger")
			l.put(t, a, "new")
			if s := a.MustCluster(t); s.Replica == replica || s.Replica != next || l.last[next] == 0 {
				t.Errorf("it was the replica %s, then %s, and is %s; it wrote %v", replica, next, s.Replica, l.last)
			}
			c.AwaitSame(t)
			for _, n := range c.Nodes {
				l.check(t, n, "ledger")
			}
		})
	}
}

// One that does not know finds out by the first region that it meets.
func TestI02_RolledBackStoreBecomesAnotherReplica(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a := c.Nodes[0]
	l, replica := rollBack(t, c, unseen)
	a.Start(t)
	a.AwaitLog(t, "this store was rolled back")
	a.AwaitReady(t)
	// What it had written and lost is back before it takes writes.
	l.check(t, a, "ledger")
	l.put(t, a, "new")
	s := a.MustCluster(t)
	if s.Replica == replica {
		t.Errorf("the rolled-back store goes on as replica %s", replica)
	}
	if l.last[s.Replica] == 0 {
		t.Errorf("the new write is not of the new replica %s: %v", s.Replica, l.last)
	}
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}
}

// One that does not know it, and meets nobody, has used dots again before it
// could find out. Its writes must not get among those of the others.
func TestI01_ForkedStoreIsKeptApart(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, rest := c.Nodes[0], c.Nodes[1:]
	l, _ := rollBack(t, c, unseen)
	for _, p := range rest {
		p.SetFault(t, a, cluster.FaultCut)
	}
	a.Start(t)
	a.AwaitReady(t)
	a.Put(t, "ledger", "forked", `{"fork":true}`)
	for _, p := range rest {
		p.SetFault(t, a, cluster.FaultNone)
	}
	cluster.Await(t, cluster.Patience, "the forked store to refuse writes", func() (bool, string) {
		res := a.Must(t, cluster.Request{Path: "/readyz"}, http.StatusOK, http.StatusServiceUnavailable)
		return res.Status != http.StatusOK, res.Text()
	})
	res := a.Must(t, cluster.PutRequest("ledger", "more", `{}`), http.StatusServiceUnavailable)
	t.Logf("the forked store says: %s", res.Text())
	for _, p := range rest {
		l.put(t, p, "after-"+p.Region)
	}
	c.AwaitEqual(t, rest...)
	c.AwaitSame(t, rest...)
	for _, p := range rest {
		l.check(t, p, "ledger")
		p.Must(t, cluster.Request{Path: cluster.DocPath("ledger", "forked")}, http.StatusNotFound)
		p.AwaitLog(t, "histories differ", a.Region)
	}
	// Reads go on, and a restart does not make it forget.
	a.Get(t, "ledger", "forked")
	a.Kill(t)
	a.Start(t)
	cluster.Await(t, cluster.Patience, "the forked store to refuse writes after a restart", func() (bool, string) {
		res := a.Must(t, cluster.Request{Path: "/readyz"}, http.StatusOK, http.StatusServiceUnavailable)
		return res.Status != http.StatusOK, res.Text()
	})
	t.Logf("after a restart: %s", a.Must(t, cluster.PutRequest("ledger", "more", `{}`), http.StatusServiceUnavailable).Text())
}

func TestI14_RestartAndTrimmingChangeNoRead(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	seedShared(t, c)
	cluster.Cut(t, c.AllLinks()...)
	writers(t, c.Nodes, "apart", 30)
	for i, n := range c.Nodes {
		n.Put(t, "lists", "l", fmt.Sprintf(`{"list":["a","b",%d],"field":%d}`, i, i))
		n.Delete(t, "own", n.Region+"-apart-0")
	}
	cluster.Heal(t, c.AllLinks()...)
	c.AwaitSame(t)
	before := c.Nodes[0].Dump(t)
	// All know that all have everything: what was kept for concurrent writes goes.
	for _, n := range c.Nodes {
		cluster.Await(t, cluster.Patience, "a stable vector in "+n.Region, func() (bool, string) {
			s := n.MustCluster(t)
			return maps.Equal(s.Stable, s.Vector), fmt.Sprint(s.Stable, s.Vector)
		})
	}
	for _, n := range c.Nodes {
		if diff := before.Diff(n.Dump(t)); diff != "" {
			t.Errorf("after everything was stable, %s: %s", n.Region, diff)
		}
		if status := n.Stop(t); status != 0 {
			t.Errorf("%s: exit status %d", n.Region, status)
		}
	}
	for _, n := range c.Nodes {
		n.Start(t)
		if diff := before.Diff(n.Dump(t)); diff != "" {
			t.Errorf("after a restart, %s: %s", n.Region, diff)
		}
	}
	for _, n := range c.Nodes {
		n.AwaitReady(t)
	}
	writers(t, c.Nodes, "again", 10)
	c.AwaitSame(t)
}

// A region that is told to stop finishes what it has begun, and says so by its
// exit status.
func TestStopUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "ledger", `{}`)
	a := c.Nodes[0]
	l := newLedger()
	for round := range size(3, 20) {
		stop := writeUntil(t, a, l, strconv.Itoa(round), 8)
		l.await(t, 100)
		start := time.Now()
		if status := a.Stop(t); status != 0 {
			t.Errorf("SIGTERM under load: exit status %d", status)
		}
		t.Logf("stopped within %v", time.Since(start).Round(time.Millisecond))
		stop()
		a.Start(t)
		l.check(t, a, "ledger")
		a.AwaitReady(t)
	}
	c.AwaitSame(t)
}

func TestSecondProcessOnOneDataFolderIsRefused(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
	n := c.Nodes[0]
	n.Put(t, "docs", "d", `{}`)
	_, stderr, status := cluster.Run(t, "serve", "--region", n.Region, "--cluster", cluster.Name, "--tls-dir", c.TLS,
		"--data", n.Data, "--http", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0")
	if status == 0 || !strings.Contains(stderr, n.Data) {
		t.Errorf("status %d, and the message does not name the folder: %s", status, stderr)
	}
	t.Logf("status %d: %s", status, strings.TrimSpace(stderr))
	n.Get(t, "docs", "d")
}
