package cmd

import (
	"testing"

	"github.com/meridiandb/meridian/region/verify"
)

func TestStoredSnapshotSaysHowFarItIs(t *testing.T) {
	const goesOn = "The region goes on with it at its next start, and answers neither reads nor writes until it is complete.\n"
	for _, c := range []struct {
		snapshot verify.Snapshot
		want     string
	}{
		{verify.Snapshot{Phase: verify.PhaseClearing},
			"It takes a snapshot of another region: what was here before is being removed.\n" + goesOn +
				"What the other region holds is not known yet.\n"},
		{verify.Snapshot{Phase: verify.PhaseCopying, Documents: 1, Bytes: 2048, TotalBytes: 10240, Vector: map[string]uint64{"r2": 7, "r1": 1}},
			"It takes a snapshot of another region: 1 document, 2.0 KiB of about 10.0 KiB.\n" + goesOn +
				"The other region held 8 changes when it was asked last:\n  r1 up to 1\n  r2 up to 7\n"},
		{verify.Snapshot{Phase: verify.PhaseReplaying, Documents: 30, Bytes: 10240, TotalBytes: 10240, Vector: map[string]uint64{"r1": 9}},
			"It takes a snapshot of another region: 30 documents, 10.0 KiB, all of them, of which some wait for changes.\n" + goesOn +
				"The other region held 9 changes when it was asked last:\n  r1 up to 9\n"},
	} {
		if got := storedSnapshot(&c.snapshot); got != c.want {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
}
