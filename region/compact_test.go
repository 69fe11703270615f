package region

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region/store"
)

// A fakeCompactor says what it is told to say.
type fakeCompactor struct {
	store.Store
	written   atomic.Int64
	size      int64
	garbage   float64
	looked    int
	compacted []time.Duration // since start
	start     time.Time
}

func (f *fakeCompactor) Sizes() (store.Sizes, error) { return store.Sizes{Records: f.size}, nil }
func (f *fakeCompactor) Written() int64              { return f.written.Load() }

func (f *fakeCompactor) Garbage() (float64, error) {
	f.looked++
	return f.garbage, nil
}

func (f *fakeCompactor) Compact() error {
	f.compacted = append(f.compacted, time.Since(f.start))
	f.written.Store(0)
	return nil
}

func TestStoreIsCompactedOnceWhenItIsQuietAndThatIsWorthIt(t *testing.T) {
	const load, idle = 30 * time.Second, time.Hour
	for _, test := range []struct {
		name      string
		written   int64 // each second of the load
		size      int64
		garbage   float64
		looked    int
		compacted []time.Duration
	}{
		{"much was replaced", 4 << 20, 200 << 20, 0.6, 1, []time.Duration{40 * time.Second}},
		{"it only grew", 4 << 20, 200 << 20, 0, int((idle + judgeEvery - 1) / judgeEvery), nil},
		{"little was written", 1 << 20, 200 << 20, 0.6, 0, nil},
		{"it is large", 4 << 20, compactBelow + 1, 0.6, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeCompactor{size: test.size, garbage: test.garbage, start: time.Now()}
				ctx, cancel := context.WithCancel(t.Context())
				r := &Region{store: f, cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
				done := make(chan error)
				go func() { done <- r.compact(ctx) }()
				time.Sleep(time.Millisecond) // writes are not at the moment of a tick
				for range int(load / time.Second) {
					f.written.Add(test.written)
					time.Sleep(time.Second)
					synctest.Wait()
				}
				for range int(idle / time.Second) {
					time.Sleep(time.Second)
					synctest.Wait()
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if f.looked != test.looked || !slices.Equal(f.compacted, test.compacted) {
					t.Errorf("looked %d times and compacted at %v, want %d and %v", f.looked, f.compacted, test.looked, test.compacted)
				}
			})
		})
	}
}
