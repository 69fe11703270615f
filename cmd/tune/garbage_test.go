package tune

import (
	"runtime/debug"
	"testing"
)

func TestGarbageIsAllowedByHowFastItComes(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name            string
		live, allocated uint64
		want            int
	}{
		{"not collected yet", 0, 100 * mib, 100},
		{"idle", 50 * mib, mib / 10, 100},
		{"little", 50 * mib, 10 * mib, 100},
		{"as far apart as wanted", 20 * mib, 10 * mib, 200},
		{"at most", 48 * mib, 200 * mib, 400},
		{"a large heap", 400 * mib, 2000 * mib, 100},
	} {
		if got := garbagePercent(test.live, test.allocated); got != test.want {
			t.Errorf("%s: GOGC is %d, want %d", test.name, got, test.want)
		}
	}
}

func TestGarbageFollowsTheLoad(t *testing.T) {
	before := debug.SetGCPercent(defaultPercent)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	percent := func() int {
		p := debug.SetGCPercent(defaultPercent)
		debug.SetGCPercent(p)
		return p
	}
	const mib = 1 << 20
	g := garbage{percent: defaultPercent}
	allocated := uint64(0)
	for _, step := range []struct {
		name string
		each uint64
		want int
	}{
		{"idle", 0, 100},
		{"load", 20 * mib, 400},
		{"hardly more", 21 * mib, 400},
		{"more", 30 * mib, 600},
		{"idle again", mib, 100},
	} {
		allocated += step.each
		g.tick(heap{live: 20 * mib, allocated: allocated})
		if got := percent(); got != step.want {
			t.Errorf("%s: GOGC is %d, want %d", step.name, got, step.want)
		}
	}
	g.tick(heap{live: 20 * mib, allocated: allocated + 20*mib})
	if g.reset(); percent() != defaultPercent {
		t.Errorf("it ended with GOGC %d", percent())
	}

	g.fixed = true
	debug.SetGCPercent(150)
	g.tick(heap{live: 20 * mib, allocated: allocated + 40*mib})
	if g.reset(); percent() != 150 {
		t.Errorf("GOGC is %d, though the environment says 150", percent())
	}
}
