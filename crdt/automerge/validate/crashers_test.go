package validate_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// check does with bytes from a client what is done before the library sees them.
func check(b []byte, sync bool) error {
	var cs []*validate.Change
	if sync {
		m, err := validate.ParseSync(b, validate.Limits{})
		if err != nil {
			return err
		}
		cs = m.Changes
	} else {
		var err error
		if cs, err = validate.Parse(b, validate.Limits{}); err != nil {
			return err
		}
	}
	x := validate.NewIndex(validate.Limits{})
	for _, c := range cs {
		if err := x.Add(c); err != nil {
			return err
		}
	}
	return nil
}

// The inputs in testdata/crashers have each killed a process that handed them to
// the library.
func TestEveryCrasherIsRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/crashers/*.bin")
	if err != nil || len(files) < 89 {
		t.Fatalf("%d crashers, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		err = check(b, strings.Contains(f, "ReceiveMessage"))
		if !errors.Is(err, validate.ErrInvalid) && !errors.Is(err, validate.ErrTooLarge) && !errors.Is(err, validate.ErrMissing) {
			t.Errorf("%s: %v", filepath.Base(f), err)
		}
		if testing.Verbose() {
			t.Logf("%s: %v", filepath.Base(f), err)
		}
	}
}
