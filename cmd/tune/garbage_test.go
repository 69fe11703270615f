package tune

import (
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
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
		{"little", 50 * mib, 8 * mib, 100},
		{"as far apart as wanted", 20 * mib, 10 * mib, 300},
		{"at most", 48 * mib, 200 * mib, 400},
		{"a large heap", 400 * mib, 2000 * mib, 100},
	} {
		if got := garbagePercent(test.live, test.allocated, 192*mib); got != test.want {
			t.Errorf("%s: GOGC is %d, want %d", test.name, got, test.want)
		}
	}
}

func TestGarbageIsAShareOfTheMemory(t *testing.T) {
	const mib = 1 << 20
	unknown := func() (uint64, error) { return 0, memlimit.ErrNoLimit }
	for _, test := range []struct {
		name   string
		limits []memlimit.Provider
		want   uint64
	}{
		{"nothing is known", []memlimit.Provider{unknown, unknown}, 192 * mib},
		{"a small container", []memlimit.Provider{memlimit.Limit(512 * mib), memlimit.Limit(64 << 30)}, 192 * mib},
		{"a machine of 24 GiB", []memlimit.Provider{unknown, memlimit.Limit(24 << 30)}, 384 * mib},
		{"a large machine", []memlimit.Provider{unknown, memlimit.Limit(256 << 30)}, 512 * mib},
	} {
		if got := garbageRoom(test.limits); got != test.want {
			t.Errorf("%s: %d MiB, want %d", test.name, got/mib, test.want/mib)
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
	g := garbage{percent: defaultPercent, room: 192 * mib}
	allocated := uint64(0)
	for _, step := range []struct {
		name string
		each uint64
		want int
	}{
		{"idle", 0, 100},
		{"load", 20 * mib, 600},
		{"hardly more", 21 * mib, 600},
		{"more", 30 * mib, 900},
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
