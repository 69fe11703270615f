package transporttest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meridiandb/meridian/transport"
)

// bothDial lets four regions dial each other at the same time.
func bothDial(c *cluster) {
	names := []string{"a", "b", "c", "d"}
	var all []*member
	for _, n := range names {
		all = append(all, c.add(n, settings()))
	}
	for _, m := range all {
		peers := make(map[string]transport.Endpoint)
		for _, n := range names {
			peers[n] = c.to(n) // its own name is passed over
		}
		m.tr.SetPeers(peers)
	}
	for _, m := range all {
		m.start()
	}
	for _, m := range all {
		for _, n := range names {
			if n != m.name {
				c.send(m, n, numbered(1))
			}
		}
	}
	for _, m := range all {
		for _, n := range names {
			if n != m.name {
				m.awaitMessages(n, 1)
			}
		}
	}
	pause(c.f.Idle / 2) // for a second connection to show
	for _, m := range all {
		m.mu.Lock()
		for _, n := range names {
			if n == m.name {
				continue
			}
			if m.ups[n] != 1 || len(m.downs[n]) != 0 {
				c.Errorf("%s: %d links with %s have come up, and down: %v", m.name, m.ups[n], n, m.downs[n])
			}
			if dialed := m.links[n].Stats().Dialed; c.f.Bubble && dialed != (m.name < n) {
				c.Errorf("%s: link with %s: dialed %v", m.name, n, dialed)
			}
		}
		m.mu.Unlock()
	}
}

func shutdownTold(c *cluster) {
	a, b := c.pair(settings())
	start := time.Now()
	b.finish()
	c.is(a.awaitDowns("b", 1), transport.ErrShutdown)
	if d := time.Since(start); d > c.f.Idle/2 {
		c.Errorf("it took %v", d)
	}
	c.is(b.awaitDowns("a", 1), transport.ErrShutdown)
}

func crashNoticed(c *cluster) {
	a, b := c.pair(settings())
	start := time.Now()
	c.net.Crash("b")
	c.is(a.awaitDowns("b", 1), transport.ErrDead)
	if d := time.Since(start); d > c.f.Idle+2*time.Second {
		c.Errorf("it took %v, the idle timeout is %v", d, c.f.Idle)
	}
	a.awaitState("b", "an error of a dial", func(s transport.PeerState) bool { return !s.Linked && s.Attempts > 0 && s.LastError != nil })
	_ = b.end() // its network is gone
	delete(c.members, "b")
}

// restart crashes the side that waits, and then the one that dials.
func restart(c *cluster) {
	a, b := c.pair(settings())
	crash := func(m *member) *member {
		c.net.Crash(m.name)
		_ = m.end() // its network is gone
		return c.add(m.name, settings())
	}

	start := time.Now()
	b = crash(b)
	b.tr.SetPeers(map[string]transport.Endpoint{"a": {}})
	b.start()
	reason := a.awaitDowns("b", 1)
	a.awaitUps("b", 2)
	b.link("a")
	c.Logf("the side that dials notices after %v: %v", time.Since(start), reason)
	if d := time.Since(start); d > c.f.Idle+4*time.Second {
		c.Errorf("it took %v", d)
	}

	start = time.Now()
	a = crash(a)
	a.tr.SetPeers(map[string]transport.Endpoint{"b": c.to("b")})
	a.start()
	reason = b.awaitDowns("a", 1)
	b.awaitUps("a", 2)
	a.link("b")
	c.Logf("the side that waits notices after %v: %v", time.Since(start), reason)
	if d := time.Since(start); d > c.f.Idle/2 {
		c.Errorf("a restarted peer that dials waits for a timeout: %v", d)
	}
	c.send(b, "a", numbered(1))
	a.awaitMessages("b", 1)
}

func peersChange(c *cluster) {
	a, b := c.pair(settings())
	d := c.add("d", settings())
	d.tr.SetPeers(map[string]transport.Endpoint{"a": {}})
	d.start()
	// Another peer; the link that there is stays.
	a.tr.SetPeers(map[string]transport.Endpoint{"b": c.to("b"), "d": c.to("d")})
	a.link("d")
	d.link("a")
	// Out again.
	a.tr.SetPeers(map[string]transport.Endpoint{"d": c.to("d")})
	c.is(a.awaitDowns("b", 1), transport.ErrNotPeer)
	c.is(b.awaitDowns("a", 1), transport.ErrNotPeer)
	if _, ok := a.tr.Peers()["b"]; ok {
		c.Error("b is still a peer of a")
	}
	// b dials in vain until a wants it again.
	b.tr.SetPeers(map[string]transport.Endpoint{"a": c.to("a")})
	b.awaitState("a", "refused", func(s transport.PeerState) bool { return s.Attempts > 1 })
	c.is(b.tr.Peers()["a"].LastError, transport.ErrNotPeer)
	a.tr.SetPeers(map[string]transport.Endpoint{"b": {}, "d": c.to("d")})
	if !b.awaitUps("a", 2).Stats().Dialed {
		c.Error("a has dialled, though it was told to wait")
	}
	a.awaitUps("b", 2)
	// A wrong address, and then the right one.
	e := c.add("e", settings())
	e.tr.SetPeers(map[string]transport.Endpoint{"d": {Addr: "nowhere", Dial: true}})
	e.start()
	e.awaitState("d", "an error", func(s transport.PeerState) bool { return s.LastError != nil })
	d.tr.SetPeers(map[string]transport.Endpoint{"a": {}, "e": {}})
	e.tr.SetPeers(map[string]transport.Endpoint{"d": c.to("d")})
	e.link("d")
	d.link("e")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ups["d"] != 1 || len(a.downs["d"]) != 0 {
		c.Error("the link of a and d has changed")
	}
}

func off(c *cluster) {
	a, b := c.pair(settings())
	off, on := c.to("b"), c.to("b")
	off.Off = true
	a.tr.SetPeers(map[string]transport.Endpoint{"b": off})
	c.is(a.awaitDowns("b", 1), transport.ErrRefused)
	c.is(b.awaitDowns("a", 1), transport.ErrRefused)
	b.tr.SetPeers(map[string]transport.Endpoint{"a": c.to("a")})
	b.awaitState("a", "refused", func(s transport.PeerState) bool { return s.Attempts > 2 })
	c.is(b.tr.Peers()["a"].LastError, transport.ErrRefused)
	a.tr.SetPeers(map[string]transport.Endpoint{"b": on})
	a.awaitUps("b", 2)
	b.awaitUps("a", 2)
}

func stranger(c *cluster) {
	a, b := c.pair(settings())
	s := c.add("stranger", settings())
	s.tr.SetPeers(map[string]transport.Endpoint{"a": c.to("a"), "b": c.to("b")})
	s.start()
	for _, peer := range []string{"a", "b"} {
		s.awaitState(peer, "refused", func(st transport.PeerState) bool { return st.Attempts > 0 })
		c.is(s.tr.Peers()[peer].LastError, transport.ErrNotPeer)
	}
	c.send(a, "b", numbered(1))
	b.awaitMessages("a", 1)
	for _, m := range []*member{a, b, s} {
		m.mu.Lock()
		if m.ups["stranger"]+m.ups["a"]+m.ups["b"] != map[string]int{"a": 1, "b": 1}[m.name] {
			c.Errorf("%s: links %v", m.name, m.ups)
		}
		m.mu.Unlock()
	}
}

// anybody may dial as long as that is said, and is refused afterwards.
func anybody(c *cluster) {
	a, b := c.add("a", settings()), c.add("b", settings())
	a.tr.SetPeers(map[string]transport.Endpoint{transport.Anybody: {}})
	b.tr.SetPeers(map[string]transport.Endpoint{"a": c.to("a")})
	a.start()
	b.start()
	a.link("b")
	c.send(b, "a", numbered(1))
	a.awaitMessages("b", 1)
	if got := a.tr.Peers(); len(got) != 0 {
		c.Errorf("nobody was named, and there is %v", got)
	}
	// It is named, and so it stays.
	a.tr.SetPeers(map[string]transport.Endpoint{transport.Anybody: {}, "b": {}})
	a.tr.SetPeers(map[string]transport.Endpoint{"b": {}})
	c.send(b, "a", numbered(2))
	a.awaitMessages("b", 2)
	a.tr.SetPeers(map[string]transport.Endpoint{transport.Anybody: {}})
	c.send(b, "a", numbered(3))
	a.awaitMessages("b", 3)
	a.tr.SetPeers(map[string]transport.Endpoint{})
	c.is(b.awaitDowns("a", 1), transport.ErrNotPeer)
	b.awaitState("a", "refused", func(s transport.PeerState) bool { return s.Attempts > 1 })
	c.is(b.tr.Peers()["a"].LastError, transport.ErrNotPeer)
}

func wrongRegion(c *cluster) {
	a, b := c.add("a", settings()), c.add("b", settings())
	a.tr.SetPeers(map[string]transport.Endpoint{"x": c.to("b")})
	b.tr.SetPeers(map[string]transport.Endpoint{"a": {}})
	a.start()
	b.start()
	a.awaitState("x", "an error", func(s transport.PeerState) bool { return s.Attempts > 1 })
	c.is(a.tr.Peers()["x"].LastError, transport.ErrIdentity)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ups) != 0 {
		c.Errorf("links %v", a.ups)
	}
}

func manySenders(c *cluster) {
	const n, senders = 200, 8
	a, b := c.pair(settings())
	l := a.link("b")
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range n {
				if !l.Send(numbered(s*n + i)) {
					c.Error("Send was refused")
				}
				l.Stats()
			}
		})
	}
	wg.Wait()
	next := make(map[int]int)
	for _, m := range b.awaitMessages("a", n*senders) {
		s, i := number(m.msg)/n, number(m.msg)%n
		if i != next[s] {
			c.Fatalf("sender %d: got %d, want %d", s, i, next[s])
		}
		next[s]++
	}
}

func lifeCycle(c *cluster) {
	a, b := c.pair(settings())
	if err := a.tr.Run(c.Context(), a); err == nil {
		c.Error("Run twice")
	}
	if err := a.tr.Close(); err != nil {
		c.Errorf("Close while it runs: %v", err)
	}
	c.send(a, "b", numbered(1))
	b.awaitMessages("a", 1)

	// Ended before it was ever run, and again at the same address.
	d := c.add("d", settings())
	for range 2 {
		if err := d.tr.Close(); err != nil {
			c.Error(err)
		}
	}
	d = c.add("d", settings())
	d.tr.SetPeers(map[string]transport.Endpoint{"a": c.to("a")})
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	if err := d.tr.Run(ctx, d); err != nil {
		c.Errorf("Run with a context that has ended: %v", err)
	}
	if st := fmt.Sprint(d.tr.Peers()["a"].Linked); st != "false" {
		c.Error("linked after Run")
	}
}
