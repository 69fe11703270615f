package cmd

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/meridiandb/meridian/cmd/demo"
)

// demoTitles are those of the acts.
var demoTitles = []string{
	"Act 1  A write in one region is read in another",
	"Act 2  Links are cut, and everybody goes on",
	"Act 3  The same cart in two regions",
	"Act 4  Healing",
	"Act 5  What became of the edits",
	"Act 6  The same cart under every policy",
	"Act 7  Nothing by halves, nothing unseen, nothing lost",
	"Act 8  The same edits in three types of documents",
}

// emptyTemp gives the demo a folder for temporary files, and checks that it
// leaves nothing there.
func emptyTemp(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v is left behind, %v", left, err)
		}
	})
}

func TestDemoTellsItsStoryAndChecksIt(t *testing.T) {
	for _, flags := range []string{
		"", "--topology ring", "--topology star", "--regions 5", "--regions 5 --topology ring", "--regions 2", "--regions 1",
	} {
		t.Run(flags, func(t *testing.T) {
			emptyTemp(t)
			out := must(t, append([]string{"demo", "--exit", "--http-base", "0"}, strings.Fields(flags)...)...)
			for _, title := range demoTitles {
				if strings.Count(out, "\n"+title+"\n") != 1 {
					t.Errorf("there is not one title %q", title)
				}
			}
			if !regexp.MustCompile(`(?m)^✓ All \d+ checks passed`).MatchString(out) || strings.Contains(out, "✗") {
				t.Error("the checks have not all passed")
			}
			if alone := flags == "--regions 1"; strings.Contains(out, "Skipped:") != alone {
				t.Errorf("acts skipped: %v", !alone)
			}
			for line := range strings.Lines(out) {
				// Commands and paths have to be as long as they are.
				long := strings.Contains(line, "curl") || strings.Contains(line, "--json") || strings.Contains(line, os.Getenv("TMPDIR"))
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 && !long {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestDemoOfWhichACheckFails(t *testing.T) {
	emptyTemp(t)
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs}
	c := demoCommand(a, func(ctx context.Context, cfg demo.Config) error {
		cfg.Transport = forgetful{http.DefaultTransport}
		return demo.Run(ctx, cfg)
	})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs([]string{"--exit", "--http-base", "0"})
	status := a.report(t.Context(), c, c.ExecuteContext(t.Context()))
	if status != StatusFailed || !strings.Contains(errs.String(), "checks failed") || !strings.Contains(out.String(), "\n  ✗ ") {
		t.Errorf("status %d\n%s%s", status, &out, &errs)
	}
}

// forgetful loses what a cart was to be.
type forgetful struct{ http.RoundTripper }

func (f forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/carts/docs/ana") {
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	}
	return f.RoundTripper.RoundTrip(r)
}

func TestDemoSaysWhichPortIsTaken(t *testing.T) {
	emptyTemp(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	mustFail(t, StatusFailed, []string{"demo", "--exit", "--regions", "1", "--http-base", port}, "port "+port, "us-east", "--http-base")
}

func TestDemoUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--regions", "0"}, {"--regions", "10"}, {"--topology", "tree"}, {"--http-base", "-1"}, {"--http-base", "65535"}, {"extra"},
	} {
		mustFail(t, StatusUsage, append([]string{"demo"}, args...), "demo --help")
	}
}

func TestDemoKeepsItsDataAndTakesItUpAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	for range 2 {
		out := must(t, "demo", "--exit", "--http-base", "0", "--data", dir)
		if !strings.Contains(out, dir) {
			t.Error("the folder is not shown")
		}
	}
	for _, name := range []string{"us-east", "eu-west", "ap-south", "regions.log"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestDemoStaysUpUntilItIsInterrupted(t *testing.T) {
	emptyTemp(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs lockedBuffer
	told := newWatch(&out, "Press Ctrl-C")
	done := make(chan int, 1)
	go func() {
		done <- Execute(ctx, []string{"demo", "--skip-walk", "--http-base", "0", "--topology", "star", "--verbose"}, strings.NewReader(""), told, &errs)
	}()
	select {
	case <-told.seen:
	case status := <-done:
		t.Fatalf("status %d\n%s%s", status, out.String(), errs.String())
	}
	urls := regexp.MustCompile(`(?m)^  \S+ +(http://\S+)`).FindAllStringSubmatch(out.String(), -1)
	if len(urls) != 3 {
		t.Fatalf("not three addresses:\n%s", out.String())
	}
	must(t, "put", "carts", "mine", `{"a":1}`, "--addr", urls[0][1])
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, urls[1][1]+"/v1/faults/links/us-east", strings.NewReader(`{"state":"cut"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("cutting a link is answered %s", res.Status)
	}
	cancel()
	if status := <-done; status != StatusDone {
		t.Errorf("status %d\n%s", status, errs.String())
	}
	if !strings.Contains(errs.String(), "link up") || strings.Contains(out.String(), "link up") {
		t.Errorf("the log is not on standard error alone:\n%s", errs.String())
	}
	if strings.Contains(out.String(), "Act 1") {
		t.Error("the walk was not skipped")
	}
}

func TestDemoIsInterruptedInItsWalk(t *testing.T) {
	emptyTemp(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs lockedBuffer
	told := newWatch(&out, "Act 2")
	done := make(chan int, 1)
	go func() {
		done <- Execute(ctx, []string{"demo", "--http-base", "0"}, strings.NewReader(""), told, &errs)
	}()
	<-told.seen
	cancel()
	if status := <-done; status != StatusFailed || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("status %d\n%s%s", status, out.String(), errs.String())
	}
}

// A watch passes on what is written, and says when a text has come by.
type watch struct {
	to   *lockedBuffer
	text string
	seen chan struct{}
	done bool
}

func newWatch(to *lockedBuffer, text string) *watch {
	return &watch{to: to, text: text, seen: make(chan struct{})}
}

func (w *watch) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	if !w.done && strings.Contains(w.to.String(), w.text) {
		w.done = true
		close(w.seen)
	}
	return n, err
}
