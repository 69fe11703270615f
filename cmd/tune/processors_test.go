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
	for _, test := range []struct {
		env  string
		want int
	}{
		{"", before + spareProcessors},
		{"7", before}, // which Go has followed at the start
	} {
		runtime.GOMAXPROCS(before)
		processors = sync.Once{}
		if t.Setenv("GOMAXPROCS", test.env); test.env == "" {
			if err := os.Unsetenv("GOMAXPROCS"); err != nil {
				t.Fatal(err)
			}
		}
		addProcessors()
		addProcessors()
		if got := runtime.GOMAXPROCS(0); got != test.want {
			t.Errorf("GOMAXPROCS=%q: %d goroutines run at once, want %d", test.env, got, test.want)
		}
	}
}
