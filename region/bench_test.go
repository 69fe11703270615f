package region_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// BenchmarkWrite writes 200-byte documents through one region without peers, at
// a number of concurrent clients. The memory store is the baseline that shows
// what the disk costs.
func BenchmarkWrite(b *testing.B) {
	stores := map[string]func(b *testing.B) store.Store{
		"memory": func(*testing.B) store.Store { return memstore.New() },
		"badger": func(b *testing.B) store.Store {
			s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			return s
		},
	}
	for _, typ := range []string{"register", "document"} {
		for _, name := range []string{"memory", "badger"} {
			for _, clients := range []int{2, 16, 64} {
				b.Run(fmt.Sprintf("%s/%s/clients=%d", typ, name, clients), func(b *testing.B) {
					benchmarkWrite(b, stores[name](b), typ, clients)
				})
			}
		}
	}
}

func benchmarkWrite(b *testing.B, st store.Store, typ string, clients int) {
	r := single(b, st)
	s, err := core.ParseSettings(fmt.Appendf(nil, `{"type":%q}`, typ))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := r.PutCollection(b.Context(), core.PutCollection{Name: "c", Settings: s}); err != nil {
		b.Fatal(err)
	}
	payload := string(make([]byte, 150))
	var n atomic.Int64
	b.SetParallelism(clients / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			_, err := r.Write(b.Context(), core.Write{Docs: []core.DocWrite{{
				Collection: "c", ID: fmt.Sprint(i % 10_000),
				Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": i, "payload": payload}},
			}}})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// single runs a region without peers for the length of the benchmark.
func single(b *testing.B, st store.Store) *region.Region {
	tr, err := memnet.New(memnet.Options{}).Transport("a", transport.Config{})
	if err != nil {
		b.Fatal(err)
	}
	r, err := region.New(region.Config{Region: "a", Cluster: "bench", Logger: slog.New(slog.DiscardHandler)}, st, tr)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	for r.Ready() != nil {
		if err := r.Wait(b.Context(), r.Have()); err != nil {
			b.Fatal(err)
		}
	}
	return r
}
