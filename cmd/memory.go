package cmd

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When a process counts as quiet.
const (
	// quietEvery is how often it is looked at how much was allocated.
	quietEvery = 10 * time.Second
	// quietTicks is how often in a row it must have been little: what the store keeps for
	// its next table it gives up some seconds after the last one.
	quietTicks = 2
	// quietAllocations is what a region without load stays below in that time, and what one
	// under load passes.
	quietAllocations = 16 << 20
)

// returnMemory gives memory back to the system, once whenever the process has become
// quiet after some work. The collector would keep room for as much garbage as it met
// under load, for good: an idle process has no reason to collect.
func returnMemory(ctx context.Context) {
	ticker := time.NewTicker(quietEvery)
	defer ticker.Stop()
	var q quiet
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if q.became(allocated()) {
			debug.FreeOSMemory()
		}
	}
}

// quiet tells when a process has become quiet.
type quiet struct {
	last  uint64
	calm  int  // ticks in a row
	spent bool // since it was quiet last
}

// became takes how much was ever allocated, at each tick.
func (q *quiet) became(allocated uint64) bool {
	calm := allocated-q.last < quietAllocations
	q.last = allocated
	if !calm {
		q.calm, q.spent = 0, true
		return false
	}
	if q.calm++; q.calm < quietTicks || !q.spent {
		return false
	}
	q.spent = false
	return true
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
