package tune

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// How garbage is collected under load.
const (
	// collectApart is how far apart collections should be. Requests that meet one take tens
	// of milliseconds, so that those are fewer than one in a hundred.
	collectApart = 6 * time.Second
	// How much garbage may wait for that: a share of the memory that the process may take,
	// within bounds. Beyond, the heap has room for as much as lives, which is Go's default.
	garbageShare = 64
	leastGarbage = 192 << 20
	mostGarbage  = 512 << 20
	// defaultPercent is GOGC's default.
	defaultPercent = 100
)

// garbage sets how much garbage there may be, by how fast it comes: a process that allocates
// little keeps little.
type garbage struct {
	fixed     bool   // by the environment
	room      uint64 // how much there may be
	percent   int
	allocated uint64
}

// newGarbage takes what tells of limits of memory, of which the least counts.
func newGarbage(limits ...memlimit.Provider) *garbage {
	return &garbage{
		fixed: os.Getenv("GOGC") != "", room: garbageRoom(limits),
		percent: defaultPercent, allocated: readHeap().allocated,
	}
}

// garbageRoom is how much garbage there may be.
func garbageRoom(limits []memlimit.Provider) uint64 {
	memory := uint64(math.MaxUint64)
	for _, limit := range limits {
		if bytes, err := limit(); err == nil {
			memory = min(memory, bytes)
		}
	}
	if memory == math.MaxUint64 {
		return leastGarbage // it is not known
	}
	return min(max(memory/garbageShare, leastGarbage), mostGarbage)
}

// tick takes what the heap is like, tickEvery after the last time.
func (g *garbage) tick(h heap) {
	percent := garbagePercent(h.live, h.allocated-g.allocated, g.room)
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

// garbagePercent is GOGC for a heap on which so many bytes live and were allocated in a tick,
// with room for so much garbage.
func garbagePercent(live, allocated, room uint64) int {
	if live == 0 {
		return defaultPercent // before the first collection
	}
	wanted := min(allocated*uint64(collectApart/tickEvery), room)
	return max(defaultPercent, int(wanted*100/live))
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
