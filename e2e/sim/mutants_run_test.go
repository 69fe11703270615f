//go:build mutants

package sim_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/sim"
)

var (
	within  = flag.Int("mutants.seeds", 2000, "within how many seeds each mutant must be caught")
	workers = flag.Int("mutants.workers", runtime.GOMAXPROCS(0), "how many seeds run at a time")
)

// spare is how long before the timeout of the test no mutant is begun or gone on
// with, so that those that had no time are named.
const spare = 30 * time.Second

var (
	failure  = regexp.MustCompile(`FAILED seed (\d+): (\w+)`)
	progress = regexp.MustCompile(`^\d+ seeds from `)
)

// TestMutants builds the simulation with one file of the product replaced at a
// time, which no build of the product can be, and runs seeds until one fails. It
// ends with its timeout, and says then which mutants it did not get to.
func TestMutants(t *testing.T) {
	ctx := t.Context()
	if end, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-spare))
		defer cancel()
	}
	r := mutantRunner{dir: t.TempDir(), start: time.Now()}
	var err error
	if r.root, err = filepath.Abs(root); err != nil {
		t.Fatal(err)
	}
	for i, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			r.ran++
			if ctx.Err() != nil {
				r.left++
				t.Fatal("NOT RUN: there was no time left; give a longer -timeout, or name it by -run")
			}
			r.run(ctx, t, i, m)
		})
	}
	t.Logf("%d of %d mutants caught with %d workers in %v, %d not caught as expected, %d had no time", r.caught, r.ran, *workers,
		time.Since(r.start).Round(time.Second), r.ran-r.caught-r.left, r.left)
}

// A mutantRunner builds and runs one mutant after the other.
type mutantRunner struct {
	root, dir         string
	start             time.Time
	ran, caught, left int
}

func (r *mutantRunner) run(ctx context.Context, t *testing.T, i int, m mutant) {
	begin := time.Now()
	bin := r.build(ctx, t, i, m)
	built := time.Since(begin).Round(time.Second)
	var out []byte
	var found [][]byte
	var err error
	class := []string{"--without", string(sim.Removals + "," + sim.Vaults)} // as it was when most mutants were caught first
	if m.with != "" {
		class = []string{"--with", string(m.with), "--without", string(sim.Rollback + "," + sim.Wipe)}
	}
	if m.seed > 0 {
		out, err = simulate(ctx, t, bin, append(class, "--seed", strconv.FormatUint(m.seed, 10))...)
		found = failure.FindSubmatch(out)
	}
	if found == nil {
		out, err = simulate(ctx, t, bin, append(class, "--seeds", strconv.Itoa(*within), "--workers", strconv.Itoa(*workers))...)
		found = failure.FindSubmatch(out)
	}
	var exit *exec.ExitError
	switch {
	case found == nil && ctx.Err() != nil:
		r.left++
		t.Errorf("NOT CAUGHT in the time that there was; give a longer -timeout, or name it by -run\n%s", out)
	case found == nil || !errors.As(err, &exit) || exit.ExitCode() != 1:
		t.Errorf("NOT CAUGHT within %d seeds: %v\n%s", *within, err, out)
	case m.caught != "" && string(found[2]) != m.caught:
		t.Errorf("caught by %s at seed %s, not by %s", found[2], found[1], m.caught)
	default:
		r.caught++
		t.Logf("%d/%d caught by %s at seed %s, %v (%v of it to build); %v in all", i+1, len(mutants), found[2], found[1],
			time.Since(begin).Round(time.Second), built, time.Since(r.start).Round(time.Second))
	}
}

// build makes the simulation with a mutant in it.
func (r *mutantRunner) build(ctx context.Context, t *testing.T, i int, m mutant) string {
	t.Helper()
	file := filepath.Join(r.dir, strconv.Itoa(i)+".go")
	broken, mutated := mutate(t, m)
	broken, err := filepath.Abs(broken)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{broken: file}})
	if err != nil {
		t.Fatal(err)
	}
	list, bin := filepath.Join(r.dir, "overlay.json"), filepath.Join(r.dir, "simulate")
	if err := errors.Join(os.WriteFile(file, mutated, 0o600), os.WriteFile(list, overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-o", bin, "./e2e/simulate")
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// simulate runs seeds until one fails, tells of its progress, and returns the output.
func simulate(ctx context.Context, t *testing.T, bin string, seeds ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, bin, append(seeds, "--shrink=false")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = spare / 2
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(io.TeeReader(read, &out)); lines.Scan(); {
			if progress.MatchString(lines.Text()) {
				t.Log(lines.Text())
			}
		}
		_, _ = io.Copy(&out, read) // behind a line that is too long
	}()
	err := cmd.Run()
	_ = write.Close()
	<-done
	if errors.Is(err, exec.ErrWaitDelay) {
		err = fmt.Errorf("the simulation did not end when it was told to: %w", err)
	}
	return out.Bytes(), err
}
