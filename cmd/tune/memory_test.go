package tune

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestHeapKeepsBelowTheMemoryOfTheContainer(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	const container, own = 60 << 30, 48 << 30 // more than any test takes
	for _, test := range []struct {
		name     string
		env      string
		provider memlimit.Provider
		want     int64
	}{
		{"limited", "", memlimit.Limit(container), 54 << 30},
		{"not limited", "", func() (uint64, error) { return 0, memlimit.ErrNoLimit }, math.MaxInt64},
		{"not known", "", func() (uint64, error) { return 0, errors.New("no cgroup") }, own},
		{"said otherwise", "48GiB", memlimit.Limit(container), own},
	} {
		t.Run(test.name, func(t *testing.T) {
			if t.Setenv("GOMEMLIMIT", test.env); test.env == "" {
				if err := os.Unsetenv("GOMEMLIMIT"); err != nil {
					t.Fatal(err)
				}
			}
			debug.SetMemoryLimit(own)
			limitMemory(test.provider, slog.New(slog.DiscardHandler))
			if got := debug.SetMemoryLimit(-1); got != test.want {
				t.Errorf("the limit is %d, want %d", got, test.want)
			}
		})
	}
}

func TestMemoryGoesBackOnceAfterWork(t *testing.T) {
	var q quiet
	total := uint64(0)
	ticks := func(each uint64, n int) (at []int) {
		for i := range n {
			total += each
			if q.became(total) {
				at = append(at, i)
			}
		}
		return at
	}
	for _, step := range []struct {
		name  string
		each  uint64
		ticks int
		at    int // the tick at which memory goes back; -1 is never
	}{
		{"a start that took little", quietAllocations / 2, 10, -1},
		{"load", quietAllocations, 10, -1},
		{"a short pause", quietAllocations - 1, quietLooks - 1, -1},
		{"load again", 10 * quietAllocations, 1, -1},
		{"the end of it", quietAllocations - 1, 10, quietLooks - 1},
		{"nothing more", 0, 100, -1},
	} {
		at := ticks(step.each, step.ticks)
		if step.at < 0 && len(at) > 0 || step.at >= 0 && (len(at) != 1 || at[0] != step.at) {
			t.Errorf("%s: at ticks %v, want %d", step.name, at, step.at)
		}
	}
}
