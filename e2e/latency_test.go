package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/quic"
)

// oneWay is the delay between any two regions of the latency tests.
const oneWay = 40 * time.Millisecond

// A bubble has regions that speak real QUIC over a simulated network, in virtual
// time: what is measured there is what our side waits for, to the nanosecond.
type bubble struct {
	t       *testing.T
	names   []string
	regions map[string]*region.Region
}

func startBubble(t *testing.T, spec topology.Spec, count int) *bubble {
	t.Helper()
	b := &bubble{t: t, regions: map[string]*region.Region{}}
	authority, err := certs.NewAuthority("bubble", certs.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	router := &simnet.PerfectRouter{}
	addrs := map[string]*net.UDPAddr{}
	for i := range count {
		name := fmt.Sprintf("region-%d", i)
		b.names = append(b.names, name)
		addrs[name] = &net.UDPAddr{IP: net.IPv4(1, 0, 0, byte(i+1)).To4(), Port: 7400}
	}
	for _, name := range b.names {
		link := &simnet.SimulatedLink{Latency: oneWay, UploadPacket: router}
		conn := simnet.NewBlockingSimConn(addrs[name], link)
		link.Start()
		router.AddNode(addrs[name], link)
		t.Cleanup(func() {
			if err := link.Close(); err != nil {
				t.Error(err)
			}
		})
		credentials, err := authority.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := quic.New(quic.Config{Config: transport.Config{Log: slog.New(slog.DiscardHandler)}, Conn: conn, Credentials: credentials})
		if err != nil {
			t.Fatal(err)
		}
		b.run(name, spec, addrs, tr)
	}
	b.settle()
	return b
}

func (b *bubble) run(name string, spec topology.Spec, addrs map[string]*net.UDPAddr, tr transport.Transport) {
	b.t.Helper()
	peers := map[string]string{}
	for other, addr := range addrs {
		if other != name {
			peers[other] = addr.String()
		}
	}
	r, err := region.New(region.Config{
		Region: name, Cluster: "bubble", Peers: peers, Topology: spec, Logger: slog.New(slog.DiscardHandler),
	}, memstore.New(), tr)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("%s: %v", name, err)
		}
	})
	b.regions[name] = r
}

// settle lets virtual time pass until all regions hold the same.
func (b *bubble) settle() {
	b.t.Helper()
	for range 1000 {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		first := b.regions[b.names[0]].Have()
		same := first.Len() >= len(b.names)
		for _, r := range b.regions {
			same = same && r.Have().Compare(first) == crdt.Equal && r.Ready() == nil
		}
		if same {
			return
		}
	}
	b.t.Fatal("the regions have not met")
}

// measure writes in a region, and returns when the document can be read in each other.
func (b *bubble) measure(from, id string) map[string]time.Duration {
	b.t.Helper()
	began := time.Now()
	receipt, err := b.regions[from].Write(b.t.Context(), core.Write{Docs: []core.DocWrite{{
		Collection: "latency", ID: id, Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"from": from}},
	}}})
	if err != nil {
		b.t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		after = map[string]time.Duration{}
	)
	for name, r := range b.regions {
		wg.Go(func() {
			if err := r.Wait(b.t.Context(), receipt.Have); err != nil {
				b.t.Error(err)
			}
			took := time.Since(began)
			if d, err := r.Get(b.t.Context(), "latency", id); err != nil || d.View.Value.(map[string]any)["from"] != from {
				b.t.Errorf("%s shows %v, %v", name, d.View.Value, err)
			}
			mu.Lock()
			defer mu.Unlock()
			after[name] = took
		})
	}
	wg.Wait()
	return after
}

// A write is visible in another region after one way for each hop, and not a
// nanosecond later: nothing on our side waits for a timer, a poll or an answer.
func TestWriteIsVisibleAfterExactlyOneWayPerHop(t *testing.T) {
	const count, rounds = 5, 10
	for _, c := range []struct {
		spec topology.Spec
		hops func(from, to int) int
	}{
		{topology.Spec{Kind: topology.Mesh}, func(from, to int) int { return min(1, max(from-to, to-from)) }},
		{topology.Spec{Kind: topology.Ring}, func(from, to int) int {
			d := max(from-to, to-from)
			return min(d, count-d)
		}},
		{topology.Spec{Kind: topology.Star, Hub: "region-2"}, func(from, to int) int {
			switch {
			case from == to:
				return 0
			case from == 2 || to == 2:
				return 1
			}
			return 2
		}},
	} {
		t.Run(string(c.spec.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := startBubble(t, c.spec, count)
				rng := rand.New(rand.NewPCG(40, 40))
				for round := range rounds {
					// At any moment of keep-alives and reports.
					time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
					from := rng.IntN(count)
					after := b.measure(b.names[from], fmt.Sprint(round))
					for to, name := range b.names {
						if want := time.Duration(c.hops(from, to)) * oneWay; after[name] != want {
							t.Errorf("write %d of %s is visible in %s after %v, want %v", round, b.names[from], name, after[name], want)
						}
					}
				}
			})
		})
	}
}
