package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/topology"
)

func config(t *testing.T, out io.Writer) Config {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	return Config{Regions: 3, Topology: topology.Mesh, Exit: true, Out: out}
}

// A liar changes what one region says of one document.
type liar struct {
	http.RoundTripper
	region, path, truth, lie string
}

func (l liar) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(r)
	if err != nil || res.Header.Get(client.HeaderRegion) != l.region || r.URL.Path != l.path {
		return res, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte(l.truth), []byte(l.lie))))
	return res, err
}

func TestAClaimThatDoesNotHoldIsMarkedAndCounts(t *testing.T) {
	for _, c := range []struct {
		liar  liar
		claim string
	}{
		{liar{region: "eu-west", path: pathCart, truth: `"gift":true,`, lie: ``}, claimMerged},
		{liar{region: "ap-south", path: pathList, truth: `"rice","beans"`, lie: `"beans","rice"`}, claimInserted},
		{liar{region: "ap-south", path: collectionPath("orders") + "/docs", truth: `{"taken_in":"eu-west"}`, lie: `{"taken_in" :"eu-west"}`}, "byte for byte"},
		{liar{region: "us-east", path: pathPrice + "/versions", truth: `"shown":true`, lie: `"shown":false`}, claimLoserListed},
	} {
		t.Run(c.claim, func(t *testing.T) {
			var out bytes.Buffer
			cfg := config(t, &out)
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c.liar.RoundTripper = transport
			cfg.Transport = c.liar
			if err := Run(t.Context(), cfg); !errors.Is(err, ErrChecks) {
				t.Fatalf("got %v\n%s", err, &out)
			}
			failed := ""
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "  ✗") {
					failed += line
				}
			}
			if !strings.Contains(failed, c.claim) {
				t.Errorf("failed claims:\n%s\nwant %q", failed, c.claim)
			}
		})
	}
}

func TestARegionThatStopsEndsTheDemo(t *testing.T) {
	var out bytes.Buffer
	cfg := config(t, &out)
	cfg.SkipWalk, cfg.Exit = true, false
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := start(ctx, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := newWalk(newStage(&out, false, 0), c, &cfg)
	defer w.http.close()
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	boom := errors.New("boom")
	c.fail(boom)
	if err := <-done; !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("the temporary folder still has %v, %v", left, err)
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, cfg := range []Config{
		{Regions: 0, Topology: topology.Mesh},
		{Regions: MaxRegions + 1, Topology: topology.Mesh},
		{Regions: 3, Topology: "tree"},
		{Regions: 3, Topology: topology.Mesh, HTTPBase: maxPort - 1},
		{Regions: 3, Topology: topology.Mesh, HTTPBase: -1},
	} {
		cfg.Out = io.Discard
		if err := Run(t.Context(), cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: got %v", cfg, err)
		}
	}
}

// What is printed is what a shell makes the request of that is sent.
func TestCurlCommandsSurviveAShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	requests := []request{
		get("/v1/cluster"),
		get("/v1/collections/notes/docs?limit=2&prefix=a"),
		put(pathHello, `{"text":"it's $HOME, \"quoted\""}`).with("If-Match", `"abc.d.j"`),
		merge(pathCart, `{"a":null}`),
		transfer(`"x.y.j"`),
		del(pathCart),
	}
	for _, columns := range []int{60, 100, 1000} {
		for _, q := range requests {
			script := `curl() { for a in "$@"; do printf '%s\0' "$a"; done; }` + "\n" + q.curl("http://localhost:1", columns) + "\n"
			cmd := exec.Command(sh)
			cmd.Stdin = strings.NewReader(script)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s\n%s", err, out, script)
			}
			got := read(t, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"))
			want := request{method: q.method, path: q.path, body: q.body, media: q.media, header: q.header}
			if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
				t.Errorf("%s\n%s", script, diff)
			}
		}
	}
}

// read understands the arguments of curl as curl does.
func read(t *testing.T, args []string) request {
	t.Helper()
	q := request{method: http.MethodGet}
	explicit := ""
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-X":
			i++
			explicit = args[i]
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ": ")
			if name == "Content-Type" {
				q.media = value
			} else {
				q.header = append(q.header, name, value)
			}
		case "--json", "-d":
			i++
			q.body, q.method = args[i], http.MethodPost
		default:
			path, ok := strings.CutPrefix(args[i], "http://localhost:1")
			if !ok {
				t.Errorf("unexpected argument %q", args[i])
			}
			q.path = path
		}
	}
	if explicit != "" {
		q.method = explicit
	}
	return q
}

func TestMissingCountsWhatAnotherHas(t *testing.T) {
	got := missing([]client.Vector{{"a": 5, "b": 1}, {"a": 3, "b": 4}, {"c": 1}})
	if diff := cmp.Diff([]uint64{4, 3, 9}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheStageFitsItsWidth(t *testing.T) {
	for _, width := range []int{0, 20, 60, 80, 100, 300} {
		var out bytes.Buffer
		s := newStage(&out, false, width)
		s.title(1, titleWrite)
		s.say(storyBatch)
		s.check(true, claimToken, "")
		s.check(false, claimToken, strings.Repeat("something else ", 20))
		s.table([][]string{
			{"region", "value", "conflicts", "lag"},
			{"us-east", `{"a":"` + strings.Repeat("x", 150) + `"}`, "0", "none"},
			{"eu-west", strings.Repeat(`"word",`, 40), "12", "3 changes"},
		})
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > s.width || strings.HasSuffix(line, " ") {
				t.Errorf("width %d: %q has %d columns", s.width, line, n)
			}
		}
		text := strings.Join(strings.Fields(out.String()), "")
		if strings.Count(text, "x") < 150 || strings.Count(text, `"word"`) < 35 {
			t.Errorf("width %d: parts of cells are missing:\n%s", s.width, &out)
		}
	}
}

func TestColoursOnlyIfAsked(t *testing.T) {
	for _, color := range []bool{false, true} {
		var out bytes.Buffer
		s := newStage(&out, color, 0)
		s.title(1, titleWrite)
		s.check(true, claimSameNote, "")
		if got := strings.Contains(out.String(), "\x1b["); got != color {
			t.Errorf("colour %v: %q", color, &out)
		}
	}
}
