package region_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// TestWriteTimeout writes to a region whose owner does not take anything in.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 5 * time.Second
		tr, err := memnet.New(memnet.Options{}).Transport("us", transport.Config{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := region.New(region.Config{Region: "us", Cluster: "test", WriteTimeout: patience}, memstore.New(), tr)
		if err != nil {
			t.Fatal(err)
		}
		write := core.Write{Docs: []core.DocWrite{{Collection: "c", ID: "a", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{}}}}}
		// waited makes a write and returns how long that took.
		waited := func(ctx context.Context, shares time.Duration) (time.Duration, error) {
			start := time.Now()
			w := write
			w.Shares = shares
			_, err := r.Write(ctx, w)
			return time.Since(start), err
		}
		if d, err := waited(t.Context(), 0); d != patience || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", d, err)
		}
		if d, err := waited(t.Context(), time.Minute); d != patience+time.Minute || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with shares to wait for, after %v: %v", d, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d, err := waited(ctx, 0); d != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context, after %v: %v", d, err)
		}
		stop, stopped := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(stop) }()
		synctest.Wait()
		// What writes wait with is used again, but not what those before gave up: the
		// owner has answered them since.
		var last uint64
		for range 3 {
			receipt, err := r.Write(t.Context(), write)
			if err != nil {
				t.Error(err)
			}
			if receipt.Dot.Seq <= last {
				t.Errorf("answered with the change %v, after %d", receipt.Dot, last)
			}
			if have := r.Have(); have.Get(receipt.Dot.Replica) != receipt.Dot.Seq {
				t.Errorf("answered with the change %v of another write, of %v", receipt.Dot, have)
			}
			last = receipt.Dot.Seq
			time.Sleep(2 * patience)
		}
		stopped()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
