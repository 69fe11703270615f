package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, envPrefix) {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what should take a moment.
const patience = 30 * time.Second

type result struct {
	status   int
	out, err string
}

// run executes a command line to its end.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return runIn(ctx, strings.NewReader(stdin), args...)
}

func runIn(ctx context.Context, stdin io.Reader, args ...string) result {
	var out, errs bytes.Buffer
	status := Execute(ctx, args, stdin, &out, &errs)
	return result{status, out.String(), errs.String()}
}

// must executes a command line that has to succeed and returns what it prints.
func must(t *testing.T, args ...string) string {
	t.Helper()
	return mustIn(t, "", args...)
}

func mustIn(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := run(t, stdin, args...)
	if r.status != StatusDone {
		t.Fatalf("meridian %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.err)
	}
	return r.out
}

// mustFail executes a command line that has to end with a status, and demands
// that each of the texts is on standard error.
func mustFail(t *testing.T, status int, args []string, texts ...string) {
	t.Helper()
	r := run(t, "", args...)
	if r.status != status {
		t.Fatalf("meridian %s: status %d, want %d\n%s%s", strings.Join(args, " "), r.status, status, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.err, text) {
			t.Errorf("meridian %s: standard error lacks %q:\n%s", strings.Join(args, " "), text, r.err)
		}
	}
}

// decode reads JSON that a command has printed.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// A served region runs "meridian serve".
type served struct {
	url, peers, data string
	args             []string
	stop             func() result
}

// certificates makes those of a cluster.
func certificates(t *testing.T, regions ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "certs")
	must(t, "certs", "init", "--dir", dir, "--cluster", "test")
	for _, r := range regions {
		must(t, "certs", "issue", "--dir", dir, "--region", r)
	}
	return dir
}

var readyLine = regexp.MustCompile(`^(\S+) is ready: (\S+) \(peers: (\S+)\)$`)

// serve starts a region and returns when it says that it is ready.
func serve(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var errs lockedBuffer
	done := make(chan int, 1)
	go func() {
		done <- Execute(ctx, append([]string{"serve"}, args...), strings.NewReader(""), in, &errs)
		in.Close()
	}()
	s := &served{args: args}
	var once sync.Once
	var res result
	s.stop = func() result {
		once.Do(func() {
			cancel()
			res = result{status: <-done, err: errs.String()}
		})
		return res
	}
	t.Cleanup(func() { s.stop() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("serve did not become ready:\n%s", s.stop().err)
	}
	m := readyLine.FindStringSubmatch(lines.Text())
	if m == nil {
		t.Fatalf("not a ready line: %q", lines.Text())
	}
	s.url, s.peers = m[2], m[3]
	return s
}

// serveOne starts a cluster of one region.
func serveOne(t *testing.T, more ...string) *served {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	s := serve(t, append([]string{
		"--region", "us-east", "--cluster", "test", "--data", data, "--tls-dir", certificates(t, "us-east"),
		"--http", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0",
	}, more...)...)
	s.data = data
	return s
}

// A lockedBuffer can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// awaitReady waits until a region takes writes.
func awaitReady(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}
