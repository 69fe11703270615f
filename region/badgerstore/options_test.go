package badgerstore

import "testing"

// On a roomy disk level 0 is merged into a level of its size, and the reserve has room
// for that; on a small one that would take what there is to write to.
func TestReserveAndLevelsGoByTheDisk(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		size, asked    int64
		reserve, level int64
	}{
		"small":        {size: 2047 * mib, reserve: 384 * mib, level: 10 * mib},
		"roomy":        {size: 2048 * mib, reserve: 512 * mib, level: 128 * mib},
		"not known":    {size: -1, reserve: 512 * mib, level: 128 * mib},
		"as asked for": {size: 4096 * mib, asked: 100 * mib, reserve: 100 * mib, level: 128 * mib},
		"no check":     {size: 4096 * mib, asked: -1, reserve: -1, level: 128 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			opt, base := Options{ReserveBytes: test.asked}.withDefaults().forDisk(test.size)
			if b := opt.badger(t.TempDir(), base); opt.ReserveBytes != test.reserve || b.BaseLevelSize != test.level {
				t.Errorf("%d MiB are kept in reserve, and level 0 is merged into %d MiB", opt.ReserveBytes/mib, b.BaseLevelSize/mib)
			}
		})
	}
}
