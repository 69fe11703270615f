package region_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/memnet"
	"github.com/meridiandb/meridian/transport/quic"
)

// BenchmarkCatchUp lets a region come back that was away for as many writes of 200
// bytes as there are operations, until it has all of them on its disk. Through
// memory it is as fast as changes can be read, applied and committed; QUIC comes on
// top of that. 200,000 writes: -benchtime 200000x.
func BenchmarkCatchUp(b *testing.B) {
	for _, name := range []string{"memory", "quic"} {
		b.Run(name, func(b *testing.B) {
			if name == "memory" {
				benchmarkCatchUp(b, memoryNetwork(b), memnet.Addr)
			} else {
				benchmarkCatchUp(b, quicNetwork(b), benchAddr)
			}
		})
	}
}

// memoryNetwork returns what makes the transport of a region.
func memoryNetwork(b *testing.B) func(string) transport.Transport {
	n := memnet.New(memnet.Options{})
	return func(name string) transport.Transport {
		tr, err := n.Transport(name, transport.Config{})
		if err != nil {
			b.Fatal(err)
		}
		return tr
	}
}

func quicNetwork(b *testing.B) func(string) transport.Transport {
	authority, err := certs.NewAuthority("bench", certs.Validity{})
	if err != nil {
		b.Fatal(err)
	}
	return func(name string) transport.Transport {
		own, err := authority.Issue(name)
		if err != nil {
			b.Fatal(err)
		}
		tr, err := quic.New(quic.Config{Listen: benchAddr(name), Credentials: own})
		if err != nil {
			b.Fatal(err)
		}
		return tr
	}
}

// benchAddr is where a region listens: an address of the loopback that it has alone.
func benchAddr(name string) string {
	return net.JoinHostPort(map[string]string{"a": "127.0.9.1", "b": "127.0.9.2"}[name], "7400")
}

// A benchRegion is a region on a disk that can be stopped and started.
type benchRegion struct {
	*region.Region
	b       *testing.B
	name    string
	dir     string
	network func(string) transport.Transport
	addr    func(string) string
	stop    func()
}

func (r *benchRegion) start() {
	st, err := badgerstore.Open(r.dir, badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.b.Fatal(err)
	}
	peer := map[string]string{"a": "b", "b": "a"}[r.name]
	r.Region, err = region.New(region.Config{
		Region: r.name, Cluster: "bench", Peers: map[string]string{peer: r.addr(peer)},
		CatchUpRate: -1, Logger: slog.New(slog.DiscardHandler),
	}, st, r.network(r.name))
	if err != nil {
		r.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.b.Error(err)
		}
		if err := st.Close(); err != nil {
			r.b.Error(err)
		}
	})
	r.b.Cleanup(r.stop)
}

func (r *benchRegion) await(v crdt.Vector) {
	if err := r.Wait(r.b.Context(), v); err != nil {
		r.b.Fatal(err)
	}
}

func benchmarkCatchUp(b *testing.B, network func(string) transport.Transport, addr func(string) string) {
	a := &benchRegion{b: b, name: "a", dir: b.TempDir(), network: network, addr: addr}
	away := &benchRegion{b: b, name: "b", dir: b.TempDir(), network: network, addr: addr}
	a.start()
	away.start()
	for _, r := range []*benchRegion{a, away} {
		// One that thinks it is the first of the cluster takes writes, and then none until
		// the other has heard of it.
		for r.Have().Len() < 2 || r.Ready() != nil {
			r.await(r.Have())
		}
	}
	a.write("made", `first`)
	away.await(a.Have())
	away.stop()

	var next atomic.Int64
	var writers sync.WaitGroup
	text := strings.Repeat("x", 150)
	for range 64 {
		writers.Go(func() {
			for i := next.Add(1); i <= int64(b.N) && !b.Failed(); i = next.Add(1) {
				a.write(fmt.Sprint(i%10_000), text)
			}
		})
	}
	writers.Wait()
	want := a.Have()
	b.ResetTimer()
	away.start()
	away.await(want)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}

func (r *benchRegion) write(id, text string) {
	_, err := r.Write(r.b.Context(), core.Write{Docs: []core.DocWrite{{
		Collection: "c", ID: id, Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"payload": text}},
	}}})
	if err != nil {
		r.b.Error(err)
	}
}
