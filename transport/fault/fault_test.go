package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/fault"
	"github.com/meridiandb/meridian/transport/memnet"
	"github.com/meridiandb/meridian/transport/transporttest"
	"github.com/meridiandb/meridian/transport/wire"
)

type network struct {
	*memnet.Network
	prepare func(*fault.Transport)
}

func (n network) Transport(t testing.TB, region string, cfg transport.Config) transport.Transport {
	t.Helper()
	tr, err := n.Network.Transport(region, cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := fault.Wrap(tr, 1)
	n.prepare(w)
	return w
}

// A transport that can have faults is a transport, also with a delay.
func TestConformance(t *testing.T) {
	for name, f := range map[string]fault.Fault{
		"no fault":    {},
		"delayed":     {Delay: 3 * time.Millisecond},
		"delayed in":  {Delay: 3 * time.Millisecond, Direction: fault.In},
		"delayed out": {Delay: 3 * time.Millisecond, Direction: fault.Out},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, transporttest.Factory{
				New: func(t testing.TB) transporttest.Net {
					return network{memnet.New(memnet.Options{}), func(w *fault.Transport) {
						for _, region := range []string{"a", "b", "c", "d"} {
							if err := w.Set(region, f); err != nil {
								t.Error(err)
							}
						}
					}}
				},
				Bubble: true,
				Idle:   memnet.DefaultIdleTimeout,
				Delay:  f.Delay,
			})
		})
	}
}

// side is one of two regions.
type side struct {
	*fault.Transport
	mu       sync.Mutex
	up       transport.Link
	ups      int
	downs    int
	received []int
	at       []time.Time
}

func (s *side) LinkUp(l transport.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = l
	s.ups++
}

func (s *side) LinkDown(transport.Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = nil
	s.downs++
}

// link is the link to the other region, nil if there is none.
func (s *side) link() transport.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

func (s *side) Receive(_ transport.Link, _ transport.Stream, m wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, int(m.(wire.Request).ID))
	s.at = append(s.at, time.Now())
}

func (s *side) take() []int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.received
	s.received, s.at = nil, nil
	return r
}

// pair runs a test with two regions, a with b's address and b without a's.
func pair(t *testing.T, test func(t *testing.T, a, b *side)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		start := func(name string, peers map[string]transport.Endpoint) *side {
			tr, err := n.Transport(name, transport.Config{BackoffMax: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			s := &side{Transport: fault.Wrap(tr, 1)}
			s.SetPeers(peers)
			wg.Go(func() {
				if err := s.Run(ctx, s); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		a := start("a", map[string]transport.Endpoint{"b": {Addr: memnet.Addr("b"), Dial: true}})
		b := start("b", map[string]transport.Endpoint{"a": {Addr: memnet.Addr("a")}})
		time.Sleep(time.Second)
		synctest.Wait()
		test(t, a, b)
		cancel()
		wg.Wait()
	})
}

func set(t *testing.T, s *side, region string, f fault.Fault) {
	t.Helper()
	if err := s.Set(region, f); err != nil {
		t.Fatal(err)
	}
}

func TestCutEndsTheLinkAndHealingBringsItBack(t *testing.T) {
	pair(t, func(t *testing.T, a, b *side) {
		// The side that cuts is the one that does not dial.
		set(t, b, "a", fault.Fault{State: fault.Cut})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if a.link() != nil || b.link() != nil || a.ups != 1 || b.ups != 1 || a.downs != 1 || b.downs != 1 {
			t.Fatalf("after the cut: %d, %d links up, %d, %d down", a.ups, b.ups, a.downs, b.downs)
		}
		set(t, b, "a", fault.Fault{})
		time.Sleep(time.Second) // though a dials once a minute
		synctest.Wait()
		if a.link() == nil || b.link() == nil {
			t.Fatal("the link is not back")
		}
		a.link().Send(wire.Request{ID: 1})
		if got := b.take(); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

// A fault with an end heals by itself, back to what was set before for good.
func TestFaultEndsByItself(t *testing.T) {
	pair(t, func(t *testing.T, a, b *side) {
		slow := fault.Fault{Delay: time.Millisecond}
		set(t, a, "b", slow)
		set(t, a, "b", fault.Fault{State: fault.Cut, For: time.Minute})
		time.Sleep(30 * time.Second)
		set(t, a, "b", fault.Fault{State: fault.Cut, For: time.Minute}) // it begins anew
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if a.link() != nil || b.link() != nil {
			t.Fatal("the link is back too soon")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a.link() == nil || b.link() == nil || a.Faults()["b"] != slow {
			t.Fatalf("the link is not back as it was: %+v", a.Faults())
		}
		set(t, a, "b", fault.Fault{State: fault.Cut, For: time.Minute})
		set(t, a, "b", fault.Fault{State: fault.Cut}) // for good
		time.Sleep(time.Hour)
		synctest.Wait()
		if a.link() != nil {
			t.Error("what was cut for good has healed")
		}
	})
}

func TestOneWayCut(t *testing.T) {
	for _, dir := range []fault.Direction{fault.In, fault.Out} {
		pair(t, func(t *testing.T, a, b *side) {
			set(t, a, "b", fault.Fault{State: fault.Cut, Direction: dir})
			from, to := a, b // the way that is cut
			if dir == fault.In {
				from, to = b, a
			}
			if !from.link().Send(wire.Request{ID: 1}) || !to.link().Send(wire.Request{ID: 2}) {
				t.Error("Send was refused")
			}
			if got := to.take(); len(got) != 0 {
				t.Errorf("%v came through the cut", got)
			}
			if got := from.take(); len(got) != 1 {
				t.Errorf("the other way: got %v", got)
			}
			w, err := from.link().Bulk(t.Context())
			if dir == fault.Out {
				if !errors.Is(err, fault.ErrCut) {
					t.Errorf("Bulk: %v", err)
				}
			} else {
				_ = w.Write(t.Context(), wire.Request{ID: 3})
				w.Close()
				if got := to.take(); len(got) != 0 {
					t.Errorf("%v came through the cut in bulk", got)
				}
			}
			set(t, a, "b", fault.Fault{})
			from.link().Send(wire.Request{ID: 4})
			if got := to.take(); len(got) != 1 || got[0] != 4 {
				t.Errorf("after healing: got %v", got)
			}
		})
	}
}

func TestCutAbortsBulk(t *testing.T) {
	for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
		pair(t, func(t *testing.T, a, b *side) {
			set(t, a, "b", fault.Fault{Delay: delay})
			w, err := a.link().Bulk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Write(t.Context(), wire.Request{ID: 1}); err != nil {
				t.Fatal(err)
			}
			set(t, a, "b", fault.Fault{State: fault.Cut, Direction: fault.Out})
			if err := w.Write(t.Context(), wire.Request{ID: 2}); !errors.Is(err, fault.ErrCut) {
				t.Errorf("Write: %v", err)
			}
			set(t, a, "b", fault.Fault{})
			if err := w.Write(t.Context(), wire.Request{ID: 3}); err == nil {
				t.Error("the stream lives on with a gap in it")
			}
			w.Close()
		})
	}
}

func TestDelayIsExactAndKeepsOrder(t *testing.T) {
	const delay, n = 80 * time.Millisecond, 100
	pair(t, func(t *testing.T, a, b *side) {
		set(t, a, "b", fault.Fault{Delay: delay, Direction: fault.Out})
		set(t, b, "a", fault.Fault{Delay: delay, Direction: fault.In})
		start := time.Now()
		w, err := a.link().Bulk(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			a.link().Send(wire.Request{ID: uint64(i)})
			if err := w.Write(t.Context(), wire.Request{ID: uint64(n + i)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		w.Close()
		time.Sleep(2 * delay)
		synctest.Wait()
		next := []int{0, 0}
		for i, id := range b.received {
			if id%n != next[id/n] {
				t.Fatalf("got %v", b.received)
			}
			next[id/n]++
			if want := start.Add(2*delay + time.Duration(id%n)*time.Millisecond); !b.at[i].Equal(want) {
				t.Fatalf("message %d is off by %v", id, b.at[i].Sub(want))
			}
		}
		if len(b.received) != 2*n {
			t.Errorf("got %d messages", len(b.received))
		}
		// What is held up when the delay ends still comes before what follows.
		b.take()
		a.link().Send(wire.Request{ID: 1})
		set(t, a, "b", fault.Fault{})
		set(t, b, "a", fault.Fault{})
		a.link().Send(wire.Request{ID: 2})
		time.Sleep(time.Second)
		if got := b.take(); len(got) != 2 || got[0] != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestLossIsOfLiveMessagesAndRepeatable(t *testing.T) {
	const n = 1000
	var counts []int
	for range 2 {
		pair(t, func(t *testing.T, a, b *side) {
			set(t, a, "b", fault.Fault{Loss: 0.3})
			w, err := a.link().Bulk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if err := w.Write(t.Context(), wire.Request{ID: uint64(i)}); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			if got := b.take(); len(got) != n {
				t.Errorf("%d of %d bulk messages", len(got), n)
			}
			for i := range n {
				if !a.link().Send(wire.Request{ID: uint64(i)}) {
					t.Error("Send tells of the loss")
				}
			}
			got := len(b.take())
			if got < n*6/10 || got > n*8/10 {
				t.Errorf("%d of %d messages came through a loss of 0.3", got, n)
			}
			counts = append(counts, got)
		})
	}
	if counts[0] != counts[1] {
		t.Errorf("the same seed gave %v", counts)
	}
}

func TestJSON(t *testing.T) {
	var f fault.Fault
	if err := json.Unmarshal([]byte(`{"state":"cut","delay":"80ms","loss":0.01,"direction":"in","for":"30s"}`), &f); err != nil {
		t.Fatal(err)
	}
	if want := (fault.Fault{State: fault.Cut, Delay: 80 * time.Millisecond, Loss: 0.01, Direction: fault.In, For: 30 * time.Second}); f != want {
		t.Errorf("got %+v", f)
	}
	b, err := json.Marshal(fault.Fault{})
	if want := `{"state":"up","delay":"0s","loss":0,"direction":"both"}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v", b, err)
	}
	for _, bad := range []string{
		`{"state":"down"}`, `{"delay":"80"}`, `{"delay":"-1s"}`, `{"delay":"2h"}`, `{"loss":1.5}`, `{"loss":-1}`,
		`{"direction":"left"}`, `{"for":"30"}`, `{"for":"-1s"}`, `{"for":"25h"}`, `{"stat":"cut"}`, `[]`, `{"state":1}`,
	} {
		g := f
		if err := json.Unmarshal([]byte(bad), &g); !errors.Is(err, fault.ErrInvalid) || g != f {
			t.Errorf("%s: got %+v, %v", bad, g, err)
		}
	}
}
