package tune

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How garbage is collected under load.
const (
	// collectApart is how far apart collections should be. Requests that meet one take tens
	// of milliseconds, so that those are fewer than one in a hundred.
	collectApart = 4 * time.Second
	// mostGarbage is how much may wait for that. Beyond, the heap has room for as much
	// garbage as lives, which is Go's default.
	mostGarbage = 192 << 20
	// defaultPercent is GOGC's default.
	defaultPercent = 100
)

// garbage sets how much garbage there may be, by how fast it comes: a process that allocates
// little keeps little.
type garbage struct {
	fixed     bool // by the environment
	percent   int
	allocated uint64
}

func newGarbage() *garbage {
	return &garbage{fixed: os.Getenv("GOGC") != "", percent: defaultPercent, allocated: readHeap().allocated}
}

// tick takes what the heap is like, tickEvery after the last time.
func (g *garbage) tick(h heap) {
	percent := garbagePercent(h.live, h.allocated-g.allocated)
	g.allocated = h.allocated
	// Setting it stops the world for a moment, so small changes are left alone.
	if g.fixed || percent < g.percent+g.percent/8 && percent > g.percent-g.percent/8 {
		return
	}
	g.percent = percent
	debug.SetGCPercent(percent)
}

// reset gives back what the environment, or Go, would have.
func (g *garbage) reset() {
	if !g.fixed {
		debug.SetGCPercent(defaultPercent)
	}
}

// garbagePercent is GOGC for a heap on which so many bytes live and were allocated in a tick.
func garbagePercent(live, allocated uint64) int {
	if live == 0 {
		return defaultPercent // before the first collection
	}
	room := min(allocated*uint64(collectApart/tickEvery), mostGarbage)
	return max(defaultPercent, int(room*100/live))
}

// heap is what the heap is like.
type heap struct {
	live      uint64 // bytes, after the last collection
	allocated uint64 // bytes, ever
}

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(samples)
	return heap{live: samples[0].Value.Uint64(), allocated: samples[1].Value.Uint64()}
}
