package cluster

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Node is one region, run by a process that can be ended and started again.
type Node struct {
	Region string
	// Data is the folder of the store, PeerAddr where other regions reach it.
	Data, PeerAddr string

	c       *Cluster
	client  *http.Client
	command []string // comes before the program, if it runs in a place of its own
	args    []string
	runs    []*run
}

// A run is one process of a node.
type run struct {
	cmd      *exec.Cmd
	out, log string // files
	done     chan struct{}
	url      atomic.Pointer[string]
}

// SetArg gives a flag of serve another value, from the next start on, and
// returns the one that it had.
func (n *Node) SetArg(flag, value string) (before string) {
	if i := slices.Index(n.args, flag); i >= 0 {
		before, n.args[i+1] = n.args[i+1], value
		return before
	}
	n.args = append(n.args, flag, value)
	return ""
}

// spawn starts the process.
func (n *Node) spawn(tb testing.TB) {
	tb.Helper()
	base := filepath.Join(n.c.Dir, n.Region+"."+strconv.Itoa(len(n.runs)))
	r := &run{out: base + ".out", log: base + ".log", done: make(chan struct{})}
	line := slices.Concat(n.command, []string{Binary(tb)}, n.args)
	r.cmd = exec.Command(line[0], line[1:]...)
	out, err := os.Create(r.out)
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Close()
	log, err := os.Create(r.log)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	r.cmd.Stdout, r.cmd.Stderr = out, log
	r.cmd.SysProcAttr = dieWithParent()
	if err := r.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", n.Region, err)
	}
	go func() {
		defer close(r.done)
		_ = r.cmd.Wait() // the status is in ProcessState
	}()
	n.runs = append(n.runs, r)
}

func (n *Node) now() *run { return n.runs[len(n.runs)-1] }

// Running reports whether there is a process, also a paused one.
func (n *Node) Running() bool {
	if len(n.runs) == 0 {
		return false
	}
	select {
	case <-n.now().done:
		return false
	default:
		return true
	}
}

// PID is the id of the process.
func (n *Node) PID() int { return n.now().cmd.Process.Pid }

// Start starts a region that was ended, and waits until it answers requests. It
// need not take writes yet: see AwaitReady.
func (n *Node) Start(tb testing.TB) {
	tb.Helper()
	if n.Running() {
		tb.Fatalf("%s is running", n.Region)
	}
	n.spawn(tb)
	n.awaitURL(tb)
}

// Kill ends the process as kill -9 does.
func (n *Node) Kill(tb testing.TB) {
	tb.Helper()
	if !n.Running() {
		tb.Fatalf("%s is not running:\n%s", n.Region, tail(n.Log(), shownLog))
	}
	n.end(tb)
}

func (n *Node) end(tb testing.TB) {
	tb.Helper()
	if err := n.now().cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Errorf("kill %s: %v", n.Region, err)
	}
	n.awaitExit(tb)
}

// Stop ends the process in good order, by SIGTERM, and returns its exit status.
func (n *Node) Stop(tb testing.TB) int {
	tb.Helper()
	n.signal(tb, syscall.SIGTERM)
	n.awaitExit(tb)
	return n.now().cmd.ProcessState.ExitCode()
}

func (n *Node) awaitExit(tb testing.TB) {
	tb.Helper()
	select {
	case <-n.now().done:
	case <-time.After(Patience):
		tb.Fatalf("%s has not ended within %v", n.Region, Patience)
	}
}

// AwaitExit waits until the process has ended by itself, and returns its exit status.
func (n *Node) AwaitExit(tb testing.TB) int {
	tb.Helper()
	n.awaitExit(tb)
	return n.now().cmd.ProcessState.ExitCode()
}

func (n *Node) signal(tb testing.TB, s os.Signal) {
	tb.Helper()
	if err := n.now().cmd.Process.Signal(s); err != nil {
		tb.Fatalf("%v to %s: %v", s, n.Region, err)
	}
}

// What serve says about where it is reached: on its standard output when it is
// ready, or in the log when it still waits.
var announced = []*regexp.Regexp{
	regexp.MustCompile(`is ready: (http://\S+)`),
	regexp.MustCompile(`the region takes no writes yet.* http=(http://\S+)`),
}

// URL is where the region serves HTTP, "" before it has said so.
func (n *Node) URL() string {
	r := n.now()
	if u := r.url.Load(); u != nil {
		return *u
	}
	for i, name := range []string{r.out, r.log} {
		b, _ := os.ReadFile(name) // not there: nothing was said
		if m := announced[i].FindSubmatch(b); m != nil {
			u := string(m[1])
			r.url.Store(&u)
			return u
		}
	}
	return ""
}

func (n *Node) awaitURL(tb testing.TB) {
	tb.Helper()
	Await(tb, Patience, n.Region+" to say where it serves", func() (bool, string) {
		if !n.Running() {
			tb.Fatalf("%s has ended (%v):\n%s", n.Region, n.now().cmd.ProcessState, tail(n.Log(), shownLog))
		}
		return n.URL() != "", tail(n.Log(), shownLog)
	})
}

// AwaitReady waits until the region takes writes.
func (n *Node) AwaitReady(tb testing.TB) {
	tb.Helper()
	n.awaitURL(tb)
	Await(tb, Patience, n.Region+" to be ready", func() (bool, string) {
		if !n.Running() {
			tb.Fatalf("%s has ended (%v):\n%s", n.Region, n.now().cmd.ProcessState, tail(n.Log(), shownLog))
		}
		res, err := n.Do(tb.Context(), Request{Path: "/readyz"})
		if err != nil {
			return false, err.Error()
		}
		return res.Status == 200, string(res.Body)
	})
}

// Log is what the region's processes have written to standard error.
func (n *Node) Log() string {
	var all strings.Builder
	for _, r := range n.runs {
		b, _ := os.ReadFile(r.log) // not there: nothing was logged
		all.Write(b)
	}
	return all.String()
}

// AwaitLog waits until the log has a line with all of these parts, and returns it.
func (n *Node) AwaitLog(tb testing.TB, parts ...string) (line string) {
	tb.Helper()
	Await(tb, Patience, "a line with "+strings.Join(parts, " and ")+" in the log of "+n.Region, func() (bool, string) {
		log := n.Log()
		for l := range strings.Lines(log) {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(l, p) }) {
				line = strings.TrimSpace(l)
				return true, ""
			}
		}
		return false, tail(log, shownLog)
	})
	return line
}

// RemoveFlag takes away a flag of serve that has no value, from the next start on.
func (n *Node) RemoveFlag(flag string) {
	n.args = slices.DeleteFunc(n.args, func(a string) bool { return a == flag })
}
