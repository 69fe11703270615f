package cmd

import "testing"

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
		{"a short pause", quietAllocations - 1, quietTicks - 1, -1},
		{"load again", 10 * quietAllocations, 1, -1},
		{"the end of it", quietAllocations - 1, 10, quietTicks - 1},
		{"nothing more", 0, 100, -1},
	} {
		at := ticks(step.each, step.ticks)
		if step.at < 0 && len(at) > 0 || step.at >= 0 && (len(at) != 1 || at[0] != step.at) {
			t.Errorf("%s: at ticks %v, want %d", step.name, at, step.at)
		}
	}
}
