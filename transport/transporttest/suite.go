// Package transporttest is the suite that every transport passes.
package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// A Net is a network that was made for one test.
type Net interface {
	// Transport adds a region. A region that has ended, or crashed, can be added
	// again, at the address that it had.
	Transport(t testing.TB, region string, cfg transport.Config) transport.Transport
	// Crash takes a region's traffic away without a word to the others. Its
	// transport's Run may return an error then.
	Crash(region string)
}

// A Factory makes networks of one implementation.
type Factory struct {
	// New makes a network, and cleans it up when the test ends.
	New func(t testing.TB) Net
	// Bubble says that it does no real I/O: tests then run in a bubble of
	// testing/synctest, which also finds goroutines that are left over.
	Bubble bool
	// Idle is how long a dead peer may go unnoticed.
	Idle time.Duration
	// Delay is how long messages are held up before they are sent: what a sender
	// is told is then not what becomes of them.
	Delay time.Duration
}

// Run runs the suite.
func Run(t *testing.T, f Factory) {
	tests := []struct {
		name string
		test func(*cluster)
	}{
		{"LinkComesUpOnBothSides", linkComesUp},
		{"LiveMessagesArriveInOrder", liveInOrder},
		{"LargestMessagePasses", largestMessage},
		{"MessageBeyondBoundsIsRefused", beyondBounds},
		{"BlockedReceiverDoesNotBlockSend", blockedReceiver},
		{"BulkStreamsAreIndependent", bulkIndependent},
		{"BulkStreamsAreBounded", bulkBounded},
		{"BulkStreamKeepsOrder", bulkOrder},
		{"CancelledBulkLeavesTheLink", bulkCancel},
		{"ClosedLinkIsDialedAgain", closeRedials},
		{"BothDialOneLink", bothDial},
		{"ShutdownIsToldAtOnce", shutdownTold},
		{"CrashedPeerIsNoticed", crashNoticed},
		{"RestartedPeerIsLinkedAgain", restart},
		{"PeersChangeWhileRunning", peersChange},
		{"OffEndsAndRefusesTheLink", off},
		{"StrangerIsRefused", stranger},
		{"AnybodyMayDial", anybody},
		{"WrongRegionIsNotedAndNotLinked", wrongRegion},
		{"SendersMayBeMany", manySenders},
		{"LifeCycle", lifeCycle},
	}
	for _, test := range tests {
		body := func(t *testing.T) {
			c := &cluster{T: t, f: f, net: f.New(t), members: make(map[string]*member)}
			defer c.finish()
			test.test(c)
		}
		t.Run(test.name, func(t *testing.T) {
			if f.Bubble {
				synctest.Test(t, body)
				return
			}
			body(t)
			noLeaks(t)
		})
	}
}

// noLeaks fails if a goroutine that runs our code outlives a test.
func noLeaks(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		var b bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
		var left []string
		for g := range strings.SplitSeq(b.String(), "\n\n") {
			ours := strings.Contains(g, "/transport/internal/") || strings.Contains(g, "/transport/quic.") || strings.Contains(g, "quic-go")
			if ours && !strings.Contains(g, "transporttest.noLeaks") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
		pause(10 * time.Millisecond)
	}
}

// A cluster is what a test works with.
type cluster struct {
	*testing.T
	f       Factory
	net     Net
	members map[string]*member
	addrs   map[string]string
}

// settings are quick to dial again.
func settings() transport.Config {
	return transport.Config{
		BackoffMin: 10 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
		DialTimeout: 2 * time.Second, StableAfter: time.Second,
		Seed: 1,
	}
}

// add makes a member that does not run yet.
func (c *cluster) add(region string, cfg transport.Config) *member {
	c.Helper()
	tr := c.net.Transport(c, region, cfg)
	m := newMember(c, region, tr)
	c.members[region] = m
	if c.addrs == nil {
		c.addrs = make(map[string]string)
	}
	c.addrs[region] = tr.Addr()
	return m
}

// to is an endpoint that is dialled.
func (c *cluster) to(region string) transport.Endpoint {
	return transport.Endpoint{Addr: c.addrs[region], Dial: true}
}

// pair makes and links a and b, of which a dials.
func (c *cluster) pair(cfg transport.Config) (a, b *member) {
	c.Helper()
	a, b = c.add("a", cfg), c.add("b", cfg)
	a.tr.SetPeers(map[string]transport.Endpoint{"b": c.to("b")})
	b.tr.SetPeers(map[string]transport.Endpoint{"a": {}})
	a.start()
	b.start()
	a.link("b")
	b.link("a")
	return a, b
}

func (c *cluster) finish() {
	for _, m := range c.members {
		if m.stop != nil {
			m.finish()
		} else if err := m.tr.Close(); err != nil {
			c.Errorf("%s: Close: %v", m.name, err)
		}
	}
}

// numbered is a message with a number.
func numbered(n int) wire.Message { return wire.Request{ID: uint64(n)} }

func number(m wire.Message) int {
	switch m := m.(type) {
	case wire.Request:
		return int(m.ID)
	case wire.CatchUp:
		return int(m.ID)
	}
	return -1
}

// blob is a message of about n bytes that do not compress.
func blob(id, n int) wire.CatchUp {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(id)})
	_, _ = r.Read(b)
	return wire.CatchUp{ID: uint64(id), Changes: [][]byte{b}}
}

func (c *cluster) send(m *member, peer string, msg wire.Message) {
	c.Helper()
	if !m.link(peer).Send(msg) {
		c.Fatalf("%s: Send to %s was refused", m.name, peer)
	}
}

func (c *cluster) bulk(m *member, peer string) transport.BulkWriter {
	c.Helper()
	w, err := m.link(peer).Bulk(c.Context())
	if err != nil {
		c.Fatalf("%s: Bulk to %s: %v", m.name, peer, err)
	}
	return w
}

func (c *cluster) is(err, want error) {
	c.Helper()
	if !errors.Is(err, want) {
		c.Errorf("got error %q, want %q", err, want)
	}
}

func linkComesUp(c *cluster) {
	a, b := c.pair(settings())
	la, lb := a.link("b"), b.link("a")
	if la.Peer() != "b" || lb.Peer() != "a" {
		c.Errorf("links with %q and %q", la.Peer(), lb.Peer())
	}
	if sa, sb := la.Stats(), lb.Stats(); !sa.Dialed || sb.Dialed || sa.Since.IsZero() || sa.RemoteAddr != c.addrs["b"] {
		c.Errorf("stats %+v and %+v", sa, sb)
	}
	if st := a.tr.Peers()["b"]; !st.Linked || st.Endpoint != c.to("b") {
		c.Errorf("state of b: %+v", st)
	}
	hello := wire.Hello{MinVersion: 1, MaxVersion: 1, Cluster: "test", Region: "a", Have: crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 7})}
	c.send(a, "b", hello)
	c.send(b, "a", numbered(5))
	if m := b.awaitMessages("a", 1)[0]; m.stream != transport.Live || fmt.Sprint(m.msg) != fmt.Sprint(hello) {
		c.Errorf("b got %+v", m)
	}
	if m := a.awaitMessages("b", 1)[0]; number(m.msg) != 5 {
		c.Errorf("a got %+v", m)
	}
	st := b.link("a").Stats()
	if st.MessagesIn != 1 || st.MessagesOut != 1 || st.BytesIn == 0 || st.BytesOut == 0 || st.Dropped != 0 {
		c.Errorf("stats of b: %+v", st)
	}
}

func liveInOrder(c *cluster) {
	const n = 3000
	a, b := c.pair(settings())
	var wg sync.WaitGroup
	for _, way := range []struct{ from, to *member }{{a, b}, {b, a}} {
		wg.Go(func() {
			for i := range n {
				if !way.from.link(way.to.name).Send(numbered(i)) {
					c.Errorf("Send %d was refused", i)
				}
			}
		})
	}
	wg.Wait()
	for _, way := range []struct{ from, to *member }{{a, b}, {b, a}} {
		for i, m := range way.to.awaitMessages(way.from.name, n) {
			if number(m.msg) != i {
				c.Fatalf("message %d has number %d", i, number(m.msg))
			}
		}
	}
}

func largestMessage(c *cluster) {
	a, b := c.pair(settings())
	big := blob(1, crdt.MaxChangeBytes)
	c.send(a, "b", big)
	w := c.bulk(b, "a")
	if err := w.Write(c.Context(), big); err != nil {
		c.Fatal(err)
	}
	if err := w.Close(); err != nil {
		c.Fatal(err)
	}
	for _, m := range []got{b.awaitMessages("a", 1)[0], a.awaitMessages("b", 1)[0]} {
		if !bytes.Equal(m.msg.(wire.CatchUp).Changes[0], big.Changes[0]) {
			c.Error("the message is not what was sent")
		}
	}
}

func beyondBounds(c *cluster) {
	a, b := c.pair(settings())
	l := a.link("b")
	large := wire.Changes{Changes: [][]byte{make([]byte, crdt.MaxChangeBytes), make([]byte, crdt.MaxChangeBytes)}}
	many := wire.Request{Spans: make([]crdt.Span, wire.MaxSpans+1)}
	w := c.bulk(a, "b")
	for _, m := range []wire.Message{large, many} {
		if l.Send(m) {
			c.Error("Send took a message that no peer accepts")
		}
		c.is(w.Write(c.Context(), m), wire.ErrTooLarge)
	}
	if err := w.Write(c.Context(), numbered(1)); err != nil {
		c.Errorf("bulk stream after a refused message: %v", err)
	}
	w.Close()
	b.awaitMessages("a", 1)
	if l.Stats().Dropped != 2 {
		c.Errorf("dropped %d", l.Stats().Dropped)
	}
}

func blockedReceiver(c *cluster) {
	cfg := settings()
	cfg.QueueBytes = 256 << 10
	a, b := c.pair(cfg)
	release := make(chan struct{})
	b.setHold(func(transport.Stream, wire.Message) { <-release })
	l := a.link("b")
	msg := blob(1, 32<<10)
	sent, total := 0, 2000 // 64 MiB: more than all buffers on the way
	for range total {
		// Let what fits into the buffers on the way get there.
		if l.Send(msg) {
			sent++
		}
		if st := l.Stats(); st.QueuedBytes > cfg.QueueBytes {
			c.Fatalf("%d bytes are queued, the bound is %d", st.QueuedBytes, cfg.QueueBytes)
		}
		if sent%4 == 0 {
			pause(100 * time.Microsecond)
		}
	}
	if c.f.Delay > 0 {
		pause(time.Second)
		sent = total - int(l.Stats().Dropped)
	}
	if st := l.Stats(); sent == total || st.Dropped != uint64(total-sent) {
		c.Errorf("took %d of %d, dropped %d", sent, total, st.Dropped)
	}
	// The other direction is not affected, and the link is not given up.
	c.send(b, "a", numbered(1))
	a.awaitMessages("b", 1)
	close(release)
	b.awaitMessages("a", sent)
	c.send(a, "b", numbered(9))
	if all := b.awaitMessages("a", sent+1); number(all[sent].msg) != 9 {
		c.Error("order was lost")
	}
	if a.awaitUps("b", 1) != l {
		c.Error("the link has changed")
	}
}

func bulkIndependent(c *cluster) {
	a, b := c.pair(settings())
	release := make(chan struct{})
	defer func() { b.setHold(nil) }()
	b.setHold(func(s transport.Stream, m wire.Message) {
		if number(m) == 100 || number(m) == 300 {
			<-release
		}
	})
	// Fill one bulk stream that nobody reads.
	w := c.bulk(a, "b")
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	stuck := make(chan error, 1)
	wrote := make(chan struct{}, 1000)
	go func() {
		for range 1000 {
			if err := w.Write(ctx, blob(100, 256<<10)); err != nil {
				stuck <- err
				return
			}
			wrote <- struct{}{}
		}
		stuck <- nil
	}()
	waitQuiet(wrote)
	// The live stream and another bulk stream go on.
	c.send(a, "b", numbered(1))
	b.awaitMessages("a", 1)
	w2 := c.bulk(a, "b")
	for range 20 {
		if err := w2.Write(c.Context(), blob(2, 256<<10)); err != nil {
			c.Fatal(err)
		}
	}
	w2.Close()
	b.awaitMessages("a", 21)
	// And bulk goes on while the live stream is blocked.
	c.send(a, "b", numbered(300))
	for range 40 {
		a.link("b").Send(blob(300, 256<<10))
	}
	w3 := c.bulk(a, "b")
	for range 20 {
		if err := w3.Write(c.Context(), blob(3, 256<<10)); err != nil {
			c.Fatal(err)
		}
	}
	w3.Close()
	b.awaitMessages("a", 41)
	select {
	case err := <-stuck:
		c.Errorf("the blocked stream has taken 250 MiB: %v", err)
	default:
	}
	cancel()
	c.is(<-stuck, context.Canceled)
	w.Close()
	close(release)
}

// waitQuiet returns once nothing has come for a while.
func waitQuiet(ch <-chan struct{}) {
	for {
		select {
		case <-ch:
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

func bulkBounded(c *cluster) {
	cfg := settings()
	cfg.MaxBulk = 2
	a, b := c.pair(cfg)
	var open []transport.BulkWriter
	for i := range cfg.MaxBulk {
		w := c.bulk(a, "b")
		if err := w.Write(c.Context(), numbered(i)); err != nil {
			c.Fatal(err)
		}
		open = append(open, w)
	}
	b.awaitMessages("a", cfg.MaxBulk)
	ctx, cancel := context.WithTimeout(c.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.link("b").Bulk(ctx); err == nil {
		c.Error("one stream more than allowed was opened")
	}
	for _, w := range open {
		w.Close()
	}
	for i := range 10 * cfg.MaxBulk { // places are given free
		w := c.bulk(a, "b")
		if err := w.Write(c.Context(), numbered(i)); err != nil {
			c.Fatal(err)
		}
		w.Close()
	}
	b.awaitMessages("a", 11*cfg.MaxBulk)
}

func bulkOrder(c *cluster) {
	const n, streams = 300, 3
	a, b := c.pair(settings())
	var wg sync.WaitGroup
	for s := range streams {
		wg.Go(func() {
			w := c.bulk(a, "b")
			defer w.Close()
			for i := range n {
				if err := w.Write(c.Context(), numbered(s*n+i)); err != nil {
					c.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := make(map[transport.Stream]int)
	for _, m := range b.awaitMessages("a", n*streams) {
		if m.stream == transport.Live {
			c.Fatal("a bulk message came on the live stream")
		}
		if at := number(m.msg) % n; at != next[m.stream] {
			c.Fatalf("stream %d: got %d, want %d", m.stream, at, next[m.stream])
		}
		next[m.stream]++
	}
	if len(next) != streams {
		c.Errorf("%d streams", len(next))
	}
}

func bulkCancel(c *cluster) {
	a, b := c.pair(settings())
	for i := range 20 { // more than may be open at once
		w := c.bulk(a, "b")
		ctx, cancel := context.WithCancel(c.Context())
		if i%2 == 0 {
			if err := w.Write(ctx, numbered(i)); err != nil {
				c.Fatal(err)
			}
		}
		cancel()
		c.is(w.Write(ctx, numbered(i)), context.Canceled)
		c.is(w.Write(c.Context(), numbered(i)), context.Canceled)
		w.Close()
	}
	c.send(a, "b", numbered(99))
	b.await("the live message", func() bool {
		for _, m := range b.received["a"] {
			if number(m.msg) == 99 {
				return true
			}
		}
		return false
	})
	if a.ups["b"] != 1 {
		c.Error("the link has changed")
	}
}

func closeRedials(c *cluster) {
	a, b := c.pair(settings())
	for i := 1; i <= 3; i++ {
		closer, other := a, b
		if i%2 == 0 {
			closer, other = b, a
		}
		l := closer.link(other.name)
		reason := fmt.Errorf("reason %d", i)
		l.Close(reason)
		c.is(closer.awaitDowns(other.name, i), reason)
		err := other.awaitDowns(closer.name, i)
		c.is(err, transport.ErrClosed)
		if !strings.Contains(err.Error(), reason.Error()) {
			c.Errorf("the peer was not told why: %q", err)
		}
		if l.Send(numbered(1)) {
			c.Error("Send on a link that is down")
		}
		if w, err := l.Bulk(c.Context()); err == nil {
			c.Error("Bulk on a link that is down")
			w.Close()
		}
		a.awaitUps("b", i+1)
		b.awaitUps("a", i+1)
	}
	c.send(a, "b", numbered(1))
	b.awaitMessages("a", 1)
}
