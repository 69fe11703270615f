package quic_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/quic"
	"github.com/meridiandb/meridian/transport/wire"
)

// linkedPair makes a, which dials, and b. It returns their networks' base too,
// and the links as they are at a and b.
func linkedPair(t *testing.T, n *simulated) (a, b *events, la, lb transport.Link) {
	t.Helper()
	ta, tb := n.Transport(t, "a", settings()), n.Transport(t, "b", settings())
	ta.SetPeers(map[string]transport.Endpoint{"b": {Addr: tb.Addr(), Dial: true}})
	tb.SetPeers(map[string]transport.Endpoint{"a": {}})
	b, a = run(t, tb), run(t, ta)
	lb, la = next(t, "the link at b", b.ups), next(t, "the link at a", a.ups)
	return a, b, la, lb
}

// A message is with the handler of the other side one way later, to the
// nanosecond: nothing on our side waits for anything.
func TestMessagesTakeHalfARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const way = 40 * time.Millisecond
		start := time.Now()
		_, b, la, lb := linkedPair(t, newSimulated(t, way))

		// b may send once a has proved who it is, a once b has agreed to the link.
		if d := lb.Stats().Since.Sub(start); d != 3*way {
			t.Errorf("the link was up at b after %v", d)
		}
		if d := la.Stats().Since.Sub(start); d != 4*way {
			t.Errorf("the link was up at a after %v", d)
		}
		time.Sleep(time.Second)
		for i := range 20 {
			sent := time.Now()
			la.Send(wire.Request{ID: uint64(i)})
			if d := next(t, "the message", b.got).at.Sub(sent); d != way {
				t.Errorf("message %d took %v", i, d)
			}
			// Bulk needs no round trip to open a stream.
			w, err := la.Bulk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sent = time.Now()
			if err := w.Write(t.Context(), wire.CatchUp{ID: uint64(i)}); err != nil {
				t.Fatal(err)
			}
			if d := next(t, "the message", b.got).at.Sub(sent); d != way {
				t.Errorf("bulk message %d took %v", i, d)
			}
			w.Close()
			time.Sleep(137 * time.Millisecond)
		}
		if rtt := la.Stats().RTT; rtt < 2*way || rtt > 2*way+time.Millisecond {
			t.Errorf("RTT %v", rtt)
		}
	})
}

func TestDeadPeerIsNoticedInTheIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newSimulated(t, time.Millisecond)
		const keepAlive, idle = 500 * time.Millisecond, 2 * time.Second
		n.config = quic.Config{KeepAlive: keepAlive, IdleTimeout: idle}
		a, _, _, _ := linkedPair(t, n)
		time.Sleep(time.Minute)
		if len(a.downs) > 0 {
			t.Fatalf("an idle link went down: %v", <-a.downs)
		}
		start := time.Now()
		n.router.RemoveNode(n.addrs["a"])
		n.router.RemoveNode(n.addrs["b"])
		if err := next(t, "the end of the link", a.downs); !errors.Is(err, transport.ErrDead) {
			t.Errorf("it ended with %v", err)
		}
		if d := time.Since(start); d < idle-keepAlive || d > idle+keepAlive+100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

// A process that has forgotten a connection says so when something arrives on
// it, by the key that it has from its certificate.
func TestRestartIsNoticedByTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const way = 10 * time.Millisecond
		n := newSimulated(t, way)
		ta, tb := n.Transport(t, "a", settings()), n.Transport(t, "b", settings())
		ta.SetPeers(map[string]transport.Endpoint{"b": {Addr: tb.Addr(), Dial: true}})
		tb.SetPeers(map[string]transport.Endpoint{"a": {}})
		a := run(t, ta)
		gone := make(chan error, 1)
		go func() { gone <- tb.Run(t.Context(), newEvents()) }()
		la := next(t, "the link", a.ups)
		time.Sleep(time.Second)

		n.Crash("b")
		if err := <-gone; err == nil {
			t.Error("Run has not noticed that its socket is closed")
		}
		tb = n.Transport(t, "b", settings())
		tb.SetPeers(map[string]transport.Endpoint{"a": {}})
		b := run(t, tb)
		start := time.Now()
		la.Send(wire.Request{ID: 1 << 60, Spans: nil})
		la.Send(wire.CatchUp{Refused: "something longer than a stateless reset"})
		if err := next(t, "the end of the link", a.downs); !errors.Is(err, transport.ErrRestarted) {
			t.Errorf("it ended with %v", err)
		}
		if d := time.Since(start); d != 2*way {
			t.Errorf("it took %v", d)
		}
		next(t, "the new link", a.ups)
		next(t, "the new link", b.ups)
	})
}
