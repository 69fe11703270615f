// Package tune sets Go's runtime up for a process with a store and perhaps few processors: how many
// goroutines run at once, when garbage is collected, and when memory goes back to the system.
// What it changes is the process's, so only a main package's commands use it. What the
// environment says, by GOMAXPROCS, GOGC or GOMEMLIMIT, goes before.
package tune

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Start sets up what is set once. It is called before the work begins.
func Start(log *slog.Logger) {
	addProcessors()
	limitMemory(memlimit.FromCgroup, log)
}

// tickEvery is how often Run looks at what was allocated.
const tickEvery = time.Second

// Run sets up what depends on the load, until ctx ends.
func Run(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	garbage := newGarbage(memlimit.FromCgroup, memlimit.FromSystem)
	defer garbage.reset()
	var q quiet
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		h := readHeap()
		garbage.tick(h)
		if tick%int(quietEvery/tickEvery) == 0 && q.became(h.allocated) {
			debug.FreeOSMemory()
		}
	}
}
