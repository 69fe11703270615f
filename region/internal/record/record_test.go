package record

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/store"
)

// Whatever is read back from a disk is what was written, or an error.
func FuzzVersion(f *testing.F) {
	now := time.UnixMilli(1000)
	f.Add(appendVersion(nil, &store.VersionPut{Tag: "tag", State: []byte("state"), Expires: now.Add(time.Hour)}), "tag")
	f.Add(appendVersion(nil, &store.VersionPut{State: []byte("state")}), "")
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "x")
	f.Fuzz(func(t *testing.T, b []byte, tag string) {
		state, ok, err := Version(b, tag, now)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Fatal(err)
		}
		if ok && (err != nil || !bytes.HasSuffix(b, state)) {
			t.Fatalf("%q of %q: %v", state, b, err)
		}
	})
}

func FuzzLog(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, store.ChainSize+5))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, change, err := Log(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) || len(b) >= store.ChainSize {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(append(chain[:], change...), b) {
			t.Fatalf("%q is split into %q and %q", b, chain, change)
		}
	})
}
