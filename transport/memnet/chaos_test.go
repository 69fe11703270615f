package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
	"github.com/meridiandb/meridian/transport/wire"
)

// region is one of several that all dial each other.
type region struct {
	t      *testing.T
	name   string
	tr     transport.Transport
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	links map[string]transport.Link
	ids   map[string][]uint64
}

func (r *region) end() error { return <-r.done }

func (r *region) LinkUp(l transport.Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links[l.Peer()] != nil {
		r.t.Errorf("%s: two links with %s", r.name, l.Peer())
	}
	r.links[l.Peer()] = l
}

func (r *region) LinkDown(l transport.Link, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links[l.Peer()] != l {
		r.t.Errorf("%s: an unknown link with %s goes down", r.name, l.Peer())
	}
	delete(r.links, l.Peer())
}

func (r *region) Receive(l transport.Link, _ transport.Stream, m wire.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[l.Peer()] = append(r.ids[l.Peer()], m.(wire.Request).ID)
}

// Whatever happens to links and regions, once it is quiet there is one link per
// pair, and both sides hold the same.
func TestLinksSettleAfterChaos(t *testing.T) {
	if underRace {
		// With more the race detector itself crashes every third time: golang.org/issue/78156.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func chaos(t *testing.T, seed uint64) {
	names := []string{"a", "b", "c", "d"}
	r := rand.New(rand.NewPCG(seed, 1))
	n := memnet.New(memnet.Options{Seed: seed})
	regions := make(map[string]*region)
	peers := make(map[string]transport.Endpoint)
	for _, name := range names {
		// Some pairs dial from both sides, some regions only wait.
		peers[name] = transport.Endpoint{Addr: memnet.Addr(name), Dial: true}
	}
	start := func(name string) {
		tr, err := n.Transport(name, transport.Config{Seed: r.Uint64() | 1})
		if err != nil {
			t.Fatal(err)
		}
		tr.SetPeers(peers)
		ctx, cancel := context.WithCancel(context.Background())
		x := &region{t: t, name: name, tr: tr, cancel: cancel, done: make(chan error, 1), links: make(map[string]transport.Link), ids: make(map[string][]uint64)}
		regions[name] = x
		go func() { x.done <- tr.Run(ctx, x) }()
	}
	stop := func(name string) {
		x := regions[name]
		x.cancel()
		_ = x.end() // an error after a crash
		synctest.Wait()
		if len(x.links) > 0 {
			t.Errorf("%s has ended with links", name)
		}
	}
	for _, name := range names {
		start(name)
	}
	for range 150 {
		from, to := names[r.IntN(len(names))], names[r.IntN(len(names))]
		x := regions[from]
		switch r.IntN(12) {
		case 0:
			n.Crash(from)
			stop(from)
			start(from)
		case 1:
			stop(from)
			start(from)
		case 2:
			n.Set(from, to, memnet.Condition{Cut: r.IntN(2) == 0, Delay: time.Duration(r.IntN(100)) * time.Millisecond, Loss: r.Float64() / 4})
		case 3:
			n.Heal(from, to)
		case 4:
			p := make(map[string]transport.Endpoint)
			for name, ep := range peers {
				ep.Off, ep.Dial = r.IntN(4) == 0, r.IntN(2) == 0
				if r.IntN(4) > 0 {
					p[name] = ep
				}
			}
			x.tr.SetPeers(p)
		case 5, 6:
			x.mu.Lock()
			l := x.links[to]
			x.mu.Unlock()
			if l != nil {
				l.Close(errors.New("chaos"))
			}
		default:
			time.Sleep(time.Duration(r.ExpFloat64() * float64(150*time.Millisecond)))
		}
	}
	for _, from := range names {
		for _, to := range names {
			n.Set(from, to, memnet.Condition{Delay: 10 * time.Millisecond})
		}
		regions[from].tr.SetPeers(peers)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	var wrong []string
	for _, from := range names {
		for _, to := range names {
			if from == to {
				continue
			}
			l, back := regions[from].links[to], regions[to].links[from]
			if l == nil || back == nil {
				wrong = append(wrong, fmt.Sprintf("no link from %s to %s: %+v", from, to, regions[from].tr.Peers()[to]))
				continue
			}
			if l.Stats().Dialed == back.Stats().Dialed {
				wrong = append(wrong, fmt.Sprintf("%s and %s hold different connections", from, to))
			}
			l.Send(wire.Request{ID: 12345})
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
	for _, from := range names {
		for _, to := range names {
			if from != to && !slices.Contains(regions[to].ids[from], 12345) {
				wrong = append(wrong, fmt.Sprintf("nothing gets from %s to %s", from, to))
			}
		}
	}
	for _, w := range wrong {
		t.Error(w)
	}
	for _, name := range names {
		stop(name)
	}
}
