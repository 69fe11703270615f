package region

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

func dotOf(seq uint64) crdt.Dot { return crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: seq} }

func holds(region string, seq uint64) core.Acked {
	return core.Acked{Region: region, Have: crdt.VectorOf(dotOf(seq))}
}

func TestAckWaitersAreWokenByTheirQuorum(t *testing.T) {
	tr := newAckTracker("a")
	type waiter struct {
		g *ackGroup
		w *ackWaiter
	}
	wait := func(seq uint64, count int, names ...string) waiter {
		g, w := tr.join(dotOf(seq), core.Quorum{Count: count, Regions: names})
		return waiter{g, w}
	}
	woken := func(w waiter) bool {
		select {
		case <-w.w.done:
			return true
		default:
			return false
		}
	}
	if w := wait(7, 1); w.w != nil {
		t.Error("one region is not enough for one")
	}
	if w := wait(7, 1, "a"); w.w != nil {
		t.Error("the region itself does not count for itself")
	}
	two, three, named, both, later := wait(5, 2), wait(5, 3), wait(5, 1, "c"), wait(5, 2, "c"), wait(6, 2)
	other, _ := tr.join(crdt.Dot{Replica: crdt.ReplicaID{2}, Seq: 1}, core.Quorum{Count: 2})
	check := func(what string, want ...bool) {
		t.Helper()
		for i, w := range []waiter{two, three, named, both, later} {
			if woken(w) != want[i] {
				t.Errorf("%s: waiter %d woken is %v", what, i, !want[i])
			}
		}
	}
	check("at first", false, false, false, false, false)
	tr.update([]core.Acked{holds("b", 4), holds("c", 4)})
	check("one too few", false, false, false, false, false)
	tr.update([]core.Acked{holds("b", 5)})
	check("b", true, false, false, false, false)
	tr.update([]core.Acked{holds("c", 9)})
	check("c", true, true, true, true, true)
	if len(tr.groups) != 1 || len(other.waiters) != 1 {
		t.Errorf("%d groups are left", len(tr.groups))
	}
	if got := fmt.Sprint(tr.holders(dotOf(6))); got != "[a c]" {
		t.Errorf("holders %s", got)
	}
	// Who gives up leaves nothing behind.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if tr.wait(ctx, nil, dotOf(10), core.Quorum{Count: 2}) || len(tr.groups) != 1 {
		t.Errorf("%d groups are left", len(tr.groups))
	}
}

// BenchmarkAckWaiters has a vector of a peer wake as many waiting writers as it
// covers: what it costs is to be linear in those that it wakes.
func BenchmarkAckWaiters(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d/woken=1", n), func(b *testing.B) {
			tr := newAckTracker("a")
			q := core.Quorum{Count: 2}
			seq := uint64(0)
			tr.update([]core.Acked{holds("b", 0), holds("c", 0)})
			for range n {
				seq++
				tr.join(dotOf(seq), q)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				seq++
				tr.join(dotOf(seq), q)
				tr.update([]core.Acked{holds("b", uint64(i+1))})
			}
		})
	}
	b.Run("writers=1000", func(b *testing.B) {
		tr := newAckTracker("a")
		q := core.Quorum{Count: 2}
		var wg sync.WaitGroup
		b.ReportAllocs()
		for i := range b.N {
			base := uint64(i) * 1000
			for j := range uint64(1000) {
				_, w := tr.join(dotOf(base+j+1), q)
				wg.Go(func() { <-w.done })
			}
			tr.update([]core.Acked{holds("b", base+1000)})
			wg.Wait()
		}
	})
}
