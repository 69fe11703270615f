package tune

import (
	"os"
	"runtime"
	"sync"
	"testing"
)

func TestProcessorsAreAddedOnce(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	all := runtime.NumCPU()
	for _, test := range []struct {
		env     string
		n, want int
	}{
		{"", all, all + spareProcessors},
		{"", all + 7, all + 7}, // Go has seen a limit of time
		{"7", all, all},        // Go has followed it at the start
	} {
		runtime.GOMAXPROCS(test.n)
		processors = sync.Once{}
		if t.Setenv("GOMAXPROCS", test.env); test.env == "" {
			if err := os.Unsetenv("GOMAXPROCS"); err != nil {
				t.Fatal(err)
			}
		}
		addProcessors()
		addProcessors()
		if got := runtime.GOMAXPROCS(0); got != test.want {
			t.Errorf("GOMAXPROCS=%q, %d of %d processors: %d goroutines run at once, want %d", test.env, test.n, all, got, test.want)
		}
	}
}
