package quic_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// counter is a handler that counts, and sends requests back if it should.
type counter struct {
	up     chan transport.Link
	echo   bool
	n      atomic.Int64
	target atomic.Int64
	done   chan struct{}
}

func newCounter(echo bool) *counter {
	return &counter{up: make(chan transport.Link, 1), echo: echo, done: make(chan struct{}, 1)}
}

func (c *counter) LinkUp(l transport.Link) {
	select {
	case c.up <- l:
	default: // nobody asks
	}
}

func (c *counter) LinkDown(transport.Link, error) {}
func (c *counter) Receive(l transport.Link, _ transport.Stream, m wire.Message) {
	if _, ok := m.(wire.Request); ok && c.echo {
		l.Send(m)
	}
	if c.n.Add(1) == c.target.Load() {
		c.done <- struct{}{}
	}
}

// await returns when n messages have come since the last call.
func (c *counter) await(n int) func() {
	c.n.Store(0)
	c.target.Store(int64(n))
	return func() { <-c.done }
}

// benchPair links a and b over loopback.
func benchPair(b *testing.B, cfg transport.Config, echo bool) (from, to *counter, l transport.Link) {
	b.Helper()
	n := loopback{newBase(b)}
	ta, tb := n.Transport(b, "a", cfg), n.Transport(b, "b", cfg)
	ta.SetPeers(map[string]transport.Endpoint{"b": {Addr: tb.Addr(), Dial: true}})
	tb.SetPeers(map[string]transport.Endpoint{"a": {}})
	from, to = newCounter(false), newCounter(echo)
	var wg sync.WaitGroup
	ctx := b.Context()
	wg.Go(func() { _ = ta.Run(ctx, from) })
	wg.Go(func() { _ = tb.Run(ctx, to) })
	b.Cleanup(wg.Wait) // the context ends before
	return from, to, <-from.up
}

// change is one of 270 bytes that compresses as JSON does.
func change(i int) []byte {
	b := fmt.Appendf(nil, `{"id":"%08d","name":"customer %d","balance":%d,"city":"Porto","tags":["a","b"],"note":"`, i, i*7919, i*104729)
	for len(b) < 268 {
		b = fmt.Appendf(b, "%x ", i*len(b))
	}
	return append(b[:268], `"}`...)
}

// BenchmarkLive measures pushed changes of 270 bytes, one message each.
func BenchmarkLive(b *testing.B) {
	for name, above := range map[string]int{"plain": transport.NeverCompress, "zstd": transport.DefaultCompressAbove} {
		b.Run(name, func(b *testing.B) {
			_, to, l := benchPair(b, transport.Config{CompressAbove: above}, false)
			msgs := make([]wire.Message, 1000)
			for i := range msgs {
				msgs[i] = wire.Changes{Changes: [][]byte{change(i)}}
			}
			b.SetBytes(270)
			b.ReportAllocs()
			done := to.await(b.N)
			b.ResetTimer()
			for i := range b.N {
				for !l.Send(msgs[i%len(msgs)]) {
					time.Sleep(50 * time.Microsecond)
				}
			}
			done()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(l.Stats().BytesOut)/float64(b.N), "wireB/msg")
		})
	}
}

// BenchmarkBulk measures one catch-up stream, in messages of 256 kB.
func BenchmarkBulk(b *testing.B) {
	for name, above := range map[string]int{"plain": transport.NeverCompress, "zstd": transport.DefaultCompressAbove} {
		b.Run(name, func(b *testing.B) {
			_, to, l := benchPair(b, transport.Config{CompressAbove: above}, false)
			var m wire.CatchUp
			size := 0
			for i := 0; size < 256<<10; i++ {
				m.Changes = append(m.Changes, change(i))
				size += 270
			}
			w, err := l.Bulk(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			done := to.await(b.N)
			b.ResetTimer()
			for range b.N {
				if err := w.Write(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
			done()
			w.Close()
		})
	}
}

// BenchmarkRoundTrip measures a message and its answer on live streams, on an
// idle link and on one that bulk streams keep busy.
func BenchmarkRoundTrip(b *testing.B) {
	for _, streams := range []int{0, 1, 3} {
		b.Run(fmt.Sprintf("bulk=%d", streams), func(b *testing.B) {
			from, _, l := benchPair(b, transport.Config{}, true)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			load := wire.CatchUp{Changes: [][]byte{make([]byte, 64<<10)}}
			for i := range load.Changes[0] {
				load.Changes[0][i] = byte(i * i >> 3)
			}
			for range streams {
				wg.Go(func() {
					w, err := l.Bulk(b.Context())
					if err != nil {
						return
					}
					defer w.Close()
					for {
						select {
						case <-stop:
							return
						default:
							if w.Write(b.Context(), load) != nil {
								return
							}
						}
					}
				})
			}
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				done := from.await(1)
				l.Send(wire.Request{ID: 1})
				done()
				took = append(took, time.Since(start))
			}
			close(stop)
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkLinkUp measures from dialling to the link, over loopback.
func BenchmarkLinkUp(b *testing.B) {
	cfg := settings()
	cfg.BackoffMin, cfg.StableAfter = time.Microsecond, time.Nanosecond
	from, _, l := benchPair(b, cfg, false)
	for b.Loop() {
		l.Close(nil)
		l = <-from.up
	}
}
