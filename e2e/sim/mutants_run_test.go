//go:build mutants

package sim_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var within = flag.Int("mutants.seeds", 2000, "within how many seeds each mutant must be caught")

var failure = regexp.MustCompile(`FAILED seed (\d+): (\w+)`)

// TestMutants builds the simulation with one file of the product replaced at a
// time, which no build of the product can be, and runs seeds until one fails.
func TestMutants(t *testing.T) {
	dir := t.TempDir()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			file := filepath.Join(dir, strconv.Itoa(i)+".go")
			broken, mutated := mutate(t, m)
			broken, err := filepath.Abs(broken)
			if err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{broken: file}})
			if err != nil {
				t.Fatal(err)
			}
			list, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "simulate")
			if err := errors.Join(os.WriteFile(file, mutated, 0o600), os.WriteFile(list, overlay, 0o600)); err != nil {
				t.Fatal(err)
			}
			build := exec.CommandContext(t.Context(), "go", "build", "-overlay", list, "-o", bin, "./e2e/simulate")
			build.Dir = abs
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := exec.CommandContext(t.Context(), bin, "--seeds", strconv.Itoa(*within), "--shrink=false").CombinedOutput()
			found := failure.FindSubmatch(out)
			var exit *exec.ExitError
			switch {
			case found == nil || !errors.As(err, &exit) || exit.ExitCode() != 1:
				t.Errorf("not caught: %v\n%s", err, out)
			case m.caught != "" && string(found[2]) != m.caught:
				t.Errorf("caught by %s at seed %s, not by %s", found[2], found[1], m.caught)
			default:
				t.Logf("caught by %s at seed %s", found[2], found[1])
			}
		})
	}
}
