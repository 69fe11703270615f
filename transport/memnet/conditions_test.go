package memnet_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
	"github.com/meridiandb/meridian/transport/wire"
)

// side is one of two regions.
type side struct {
	mu    sync.Mutex
	link  transport.Link
	up    time.Time
	downs []error
	ids   []uint64
	at    []time.Time
}

func (s *side) LinkUp(l transport.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.up = l, time.Now()
}

func (s *side) LinkDown(_ transport.Link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.downs = nil, append(s.downs, err)
}

func (s *side) Receive(_ transport.Link, _ transport.Stream, m wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, m.(wire.Request).ID)
	s.at = append(s.at, time.Now())
}

// pair runs a test with a, which dials, and b.
func pair(t *testing.T, prepare func(*memnet.Network), test func(t *testing.T, n *memnet.Network, a, b *side)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{Seed: 1})
		prepare(n)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		start := func(name string, peers map[string]transport.Endpoint) *side {
			tr, err := n.Transport(name, transport.Config{Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			tr.SetPeers(peers)
			s := new(side)
			wg.Go(func() {
				if err := tr.Run(ctx, s); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		b := start("b", map[string]transport.Endpoint{"a": {}})
		a := start("a", map[string]transport.Endpoint{"b": {Addr: memnet.Addr("b"), Dial: true}})
		settle(5 * time.Second)
		test(t, n, a, b)
		cancel()
		wg.Wait()
	})
}

// settle lets time pass and everything come to rest.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestDelayIsExact(t *testing.T) {
	const way = 40 * time.Millisecond
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of a bubble
	pair(t, func(n *memnet.Network) { n.SetBoth("a", "b", memnet.Condition{Delay: way}) }, func(t *testing.T, _ *memnet.Network, a, b *side) {
		if d := b.up.Sub(begin); d != 3*way {
			t.Errorf("the link was up at b after %v", d)
		}
		if d := a.up.Sub(begin); d != 4*way {
			t.Errorf("the link was up at a after %v", d)
		}
		if rtt := a.link.Stats().RTT; rtt != 2*way {
			t.Errorf("RTT %v", rtt)
		}
		sent := time.Now()
		a.link.Send(wire.Request{ID: 1})
		settle(time.Second)
		if d := b.at[0].Sub(sent); d != way {
			t.Errorf("it took %v", d)
		}
	})
}

func TestLossDelaysAndLosesNothing(t *testing.T) {
	const n = 500
	pair(t, func(*memnet.Network) {}, func(t *testing.T, net *memnet.Network, a, b *side) {
		net.SetBoth("a", "b", memnet.Condition{Delay: 10 * time.Millisecond, Loss: 0.2})
		late := 0
		for i := range n {
			a.link.Send(wire.Request{ID: uint64(i)})
			time.Sleep(time.Millisecond)
		}
		settle(time.Minute)
		for i, id := range b.ids {
			if id != uint64(i) {
				t.Fatalf("got %d at %d", id, i)
			}
			if i > 0 && b.at[i].Equal(b.at[i-1]) {
				late++
			}
		}
		if len(b.ids) != n || late < n/10 {
			t.Errorf("%d messages, %d of them held up", len(b.ids), late)
		}
	})
}

func TestShortCutHoldsBack(t *testing.T) {
	pair(t, func(n *memnet.Network) { n.SetBoth("a", "b", memnet.Condition{Delay: 10 * time.Millisecond}) }, func(t *testing.T, n *memnet.Network, a, b *side) {
		n.Cut("a", "b")
		a.link.Send(wire.Request{ID: 1})
		settle(3 * time.Second)
		if len(b.ids) != 0 {
			t.Error("a message came through the cut")
		}
		n.Heal("a", "b")
		healed := time.Now()
		settle(time.Minute)
		if len(b.ids) != 1 || b.at[0].Sub(healed) != 10*time.Millisecond || len(a.downs)+len(b.downs) != 0 {
			t.Errorf("got %v at %v, ends %v and %v", b.ids, b.at, a.downs, b.downs)
		}
	})
}

func TestLongCutEndsTheLink(t *testing.T) {
	for name, ways := range map[string][][2]string{"both ways": {{"a", "b"}, {"b", "a"}}, "to b": {{"a", "b"}}, "to a": {{"b", "a"}}} {
		t.Run(name, func(t *testing.T) {
			pair(t, func(*memnet.Network) {}, func(t *testing.T, n *memnet.Network, a, b *side) {
				for _, w := range ways {
					n.Set(w[0], w[1], memnet.Condition{Cut: true})
				}
				settle(2*memnet.DefaultIdleTimeout + time.Second)
				if len(a.downs) != 1 || len(b.downs) != 1 {
					t.Fatalf("ends %v and %v", a.downs, b.downs)
				}
				for _, err := range []error{a.downs[0], b.downs[0]} {
					if !errors.Is(err, transport.ErrDead) {
						t.Errorf("it ended with %v", err)
					}
				}
				settle(time.Minute)
				if a.link != nil || b.link != nil {
					t.Error("there is a link over the cut")
				}
				for _, w := range ways {
					n.Set(w[0], w[1], memnet.Condition{})
				}
				settle(5 * time.Second)
				if a.link == nil || b.link == nil {
					t.Error("the link is not back")
				}
			})
		})
	}
}
