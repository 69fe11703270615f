package validate_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// Whoever is beyond a limit is told which, in words that mean something to them.
func TestLimitsAreNamed(t *testing.T) {
	for _, c := range []struct {
		file   string
		limits validate.Limits
		says   string
	}{
		{"doc9", validate.Limits{Changes: 3}, "more than 3 changes"},
		{"changes9", validate.Limits{Changes: 3}, "more than 3 changes"},
		{"doc9", validate.Limits{Ops: 3}, "more than 3 operations"},
		{"changes9", validate.Limits{Ops: 3}, "more than 3 operations"},
		{"changes9", validate.Limits{ChangeOps: 1}, "more than 1 operations"},
		{"docbig", validate.Limits{Message: 100}, "at most 100 are allowed"},
		{"docbig", validate.Limits{Inflated: 300}, "more than 300 bytes"},
	} {
		b, err := os.ReadFile("testdata/valid/js3.5.0-" + c.file + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := validate.Parse(b, c.limits); !errors.Is(err, validate.ErrTooLarge) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s within %+v: got %v, want %q", c.file, c.limits, err, c.says)
		}
	}
	for _, file := range []string{"doc9", "changes9"} {
		b, err := os.ReadFile("testdata/valid/js3.5.0-" + file + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		all, err := validate.Parse(b, validate.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := validate.Parse(b, validate.Limits{Changes: len(all)}); err != nil {
			t.Errorf("%s has %d changes, which is not beyond a limit of as many: %v", file, len(all), err)
		}
		if _, err := validate.Parse(b, validate.Limits{Changes: len(all) - 1}); !errors.Is(err, validate.ErrTooLarge) {
			t.Errorf("%s has %d changes, one more than its limit: %v", file, len(all), err)
		}
	}
}
