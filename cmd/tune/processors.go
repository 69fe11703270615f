package tune

import (
	"os"
	"runtime"
	"sync"
)

// spareProcessors is how many goroutines more run at once than the process has processors.
// A goroutine that waits for the disk in a sync, or in a page of a mapped file, holds its
// place all the while, and one that builds a table of the store for ten milliseconds at a
// time: with two processors requests would wait behind them, though the system has the time.
const spareProcessors = 2

// processors adds them once, however many regions the process has.
var processors sync.Once

// addProcessors leaves Go's own number alone where a container may use less time than its
// processors have: more at once would spend it sooner, and all would stand still after that.
// With two processors Go's number is two whatever the limit, and does not tell.
func addProcessors() {
	processors.Do(func() {
		n := runtime.GOMAXPROCS(0)
		if os.Getenv("GOMAXPROCS") == "" && n == runtime.NumCPU() {
			runtime.GOMAXPROCS(n + spareProcessors)
		}
	})
}
