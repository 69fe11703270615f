package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const module = "github.com/meridiandb/meridian"

var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Binary returns the path of the program. The first call builds it.
func Binary(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() { built.path, built.err = build() })
	if built.err != nil {
		tb.Fatalf("build meridian: %v", built.err)
	}
	return built.path
}

// Race makes Binary build the program with the race detector. What that finds
// is in the log of the region, and fails the test.
var Race bool

// raceFound is what the race detector starts its reports with.
const raceFound = "WARNING: DATA RACE"

func build() (string, error) {
	dir, err := os.MkdirTemp("", "meridian-e2e-")
	if err != nil {
		return "", err
	}
	built.dir = dir
	path := filepath.Join(dir, "meridian")
	args := []string{"build", "-o", path}
	if Race {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, module)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}

// RemoveBinary removes what Binary built. TestMain calls it at the end.
func RemoveBinary() error {
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}

// Run runs the program to its end and returns what it wrote to its standard
// output and standard error, and its exit status.
func Run(tb testing.TB, args ...string) (stdout, stderr string, status int) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), Binary(tb), args...)
	var out, errOut limited
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		tb.Fatalf("meridian %q: %v", args, err)
	}
	return string(out), string(errOut), cmd.ProcessState.ExitCode()
}

// MustRun is Run for what has to succeed.
func MustRun(tb testing.TB, args ...string) string {
	tb.Helper()
	out, errOut, status := Run(tb, args...)
	if status != 0 {
		tb.Fatalf("meridian %q: exit status %d\n%s%s", args, status, out, errOut)
	}
	return out
}

// maxOutput bounds what is kept of the output of Run.
const maxOutput = 64 << 20

// limited keeps the first maxOutput bytes.
type limited []byte

func (l *limited) Write(p []byte) (int, error) {
	*l = append(*l, p[:min(len(p), maxOutput-len(*l))]...)
	return len(p), nil
}
