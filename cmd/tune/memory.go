package tune

import (
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is how much of the memory that the process may take is for the heap of Go;
// the rest is for what the Automerge library takes, for stacks, and for mapped files.
const memoryShare = 0.9

// limitMemory has the collector work harder before the process takes more than its
// container may have: left alone it lets garbage grow to the size of what lives, and the
// buffers for the store's tables can live by the hundred megabytes. GOMEMLIMIT goes before.
func limitMemory(limit memlimit.Provider, log *slog.Logger) {
	before := debug.SetMemoryLimit(-1)
	bytes, err := memlimit.Set(memlimit.WithProvider(limit), memlimit.WithRatio(memoryShare))
	switch {
	case err != nil:
		log.Debug("how much memory the process may take is not known", "error", err)
	case bytes != before && bytes != math.MaxInt64:
		log.Info("memory is limited, as the container's is", "heap_bytes", bytes)
	}
}

// When a process counts as quiet: then it gives memory back to the system, once after each
// time of work. The collector would keep room for as much garbage as it met under load, for
// good, since an idle process has no reason to collect.
const (
	// quietEvery is how often it is looked at how much was allocated.
	quietEvery = 10 * time.Second
	// quietLooks is how often in a row it must have been little: what the store keeps for
	// its next table it gives up some seconds after the last one.
	quietLooks = 2
	// quietAllocations is what a region without load stays below in that time, and what one
	// under load passes.
	quietAllocations = 16 << 20
)

// quiet tells when a process has become quiet.
type quiet struct {
	last  uint64
	calm  int  // looks in a row
	spent bool // since it was quiet last
}

// became takes how much was ever allocated, quietEvery after the last time.
func (q *quiet) became(allocated uint64) bool {
	calm := allocated-q.last < quietAllocations
	q.last = allocated
	if !calm {
		q.calm, q.spent = 0, true
		return false
	}
	if q.calm++; q.calm < quietLooks || !q.spent {
		return false
	}
	q.spent = false
	return true
}
