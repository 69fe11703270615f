package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/fault"
)

// broken is a region of which what a test does not set panics.
type broken struct {
	Region
	ready, write error
}

func (b *broken) Name() string             { return "broken" }
func (b *broken) Have() crdt.Vector        { return crdt.Vector{} }
func (b *broken) Staleness() time.Duration { return time.Minute }
func (b *broken) Ready() error             { return b.ready }
func (b *broken) Cluster(context.Context) (region.ClusterStatus, error) {
	return region.ClusterStatus{Regions: []region.RegionStatus{{Region: "ap-south"}, {Region: "eu-west"}}}, nil
}
func (b *broken) Collection(string) (*core.Collection, error) {
	return nil, core.ErrUnknownCollection
}
func (b *broken) ServeForwarded(region.Serve) {}
func (b *broken) Write(context.Context, core.Write) (core.Receipt, error) {
	return core.Receipt{}, b.write
}

func brokenServer(t *testing.T, b *broken, c Config) *Server {
	t.Helper()
	c.Region = b
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryErrorHasItsProblem(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind *kind
	}{
		{crdt.ErrRefused, refused},
		{fmt.Errorf("%w: %w", crdt.ErrRefused, &value.Error{Err: value.ErrNumber, Offset: -1}), inexactNumber},
		{crdt.ErrConflict, misfit},
		{crdt.ErrNotFound, noDocument},
		{crdt.ErrTooManySiblings, tooManySiblings},
		{crdt.ErrTooLarge, tooLarge},
		{crdt.ErrCorrupt, internal},
		{core.ErrUnknownCollection, unknownColl},
		{core.ErrPrecondition, precondition},
		{core.ErrBaseGone, baseGone},
		{core.ErrInvalid, invalid},
		{core.ErrSeveralHomes, severalHomes},
		{core.ErrHomePending, homePending},
		{core.ErrNoAuthority, noAuthority},
		{core.ErrUnknownReplica, noAuthority},
		{region.ErrUnreachable, homeAway},
		{core.ErrExists, exists},
		{core.ErrFenced, fenced},
		{core.ErrCatchingUp, catchingUp},
		{core.ErrTooBig, tooLarge},
		{region.ErrBusy, busy},
		{region.ErrStopped, stopped},
		{region.ErrBehind, behind},
		{fmt.Errorf("%w: %w", region.ErrStorage, errors.New("/secret/path: I/O error")), storage},
		{fmt.Errorf("%w: %w", region.ErrStorage, store.ErrFull), full},
		{fmt.Errorf("%w: %w", region.ErrStorage, store.ErrBatchTooLarge), tooLarge},
		{context.DeadlineExceeded, timeout},
		{errors.New("/secret/path: something else"), internal},
	} {
		s := brokenServer(t, &broken{write: fmt.Errorf("writing: %w", c.err)}, Config{})
		r := request(t, s, "PUT", aDoc, `{}`).gives(c.kind.status)
		r.as(c.kind, "")
		if strings.Contains(r.body, "secret") {
			t.Errorf("the problem tells what is inside: %s", r.body)
		}
	}
}

func TestPanicsAreAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	s := brokenServer(t, &broken{}, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	request(t, s, "GET", aDoc, nil).gives(500).as(internal, "log")
	if !strings.Contains(log.String(), "panicked") || !strings.Contains(log.String(), "goroutine") {
		t.Errorf("the log says %q", log.String())
	}
	request(t, s, "GET", "/livez", nil).gives(200)
}

func TestRequestsAreLoggedAtDebug(t *testing.T) {
	var log bytes.Buffer
	s := brokenServer(t, &broken{}, Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	request(t, s, "GET", "/v1/x%2Fy", nil).gives(404)
	for _, part := range []string{"method=GET", "path=/v1/x%2Fy", "status=404", "took="} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log %q lacks %s", log.String(), part)
		}
	}
}

func TestReadinessFollowsTheRegion(t *testing.T) {
	b := &broken{ready: errors.New("the store is being opened")}
	s := brokenServer(t, b, Config{})
	request(t, s, "GET", "/readyz", nil).gives(503).as(notReady, "opened")
	request(t, s, "GET", "/livez", nil).gives(200)
	b.ready = nil
	request(t, s, "GET", "/readyz", nil).gives(200)
	s.close()
	request(t, s, "GET", "/readyz", nil).gives(503).as(stopped, "")
}

func TestRequestsAreBounded(t *testing.T) {
	s := brokenServer(t, &broken{}, Config{MaxRequests: 1})
	s.requests.Add(1)
	request(t, s, "GET", aDoc, nil).gives(429).as(busy, "")
	request(t, s, "GET", "/livez", nil).gives(200)
	s.requests.Add(-1)
	request(t, s, "GET", "/v1/x", nil).gives(404)
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests are counted at rest", n)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for _, c := range []Config{{}, {Region: &broken{}, MaxBatch: -1}, {Region: &broken{}, TrustedOrigins: []string{"x"}}} {
		if _, err := NewServer(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// switches is a Faults without links.
type switches map[string]fault.Fault

func (s switches) Set(region string, f fault.Fault) error { s[region] = f; return f.Validate() }
func (s switches) Faults() map[string]fault.Fault         { return s }

func TestFaultsAreInjectedWhereThatIsEnabled(t *testing.T) {
	off := brokenServer(t, &broken{}, Config{})
	for _, c := range []*call{
		request(t, off, "GET", "/v1/faults/links", nil),
		request(t, off, "GET", "/v1/faults/links/eu-west", nil),
		request(t, off, "PUT", "/v1/faults/links/eu-west", `{"state":"cut"}`),
	} {
		c.gives(404).as(faultsOff, "--fault-injection")
	}
	request(t, off, "GET", "/v1/faults/clock", nil).gives(404).as(faultsOff, "--fault-injection")
	request(t, off, "PUT", "/v1/faults/clock", `{"offset":"1h"}`).gives(404).as(faultsOff, "--fault-injection")

	on := brokenServer(t, &broken{}, Config{Faults: switches{}})
	put := func(region, body string) *call { return request(t, on, "PUT", "/v1/faults/links/"+region, body) }
	r := put("eu-west", `{"state":"cut","direction":"in"}`).gives(200)
	if r.body != request(t, on, "GET", "/v1/faults/links/eu-west", nil).gives(200).body || !strings.Contains(r.body, "cut") {
		t.Errorf("the fault is %s", r.body)
	}
	if r := request(t, on, "GET", "/v1/faults/links", nil).gives(200); !strings.Contains(r.body, `{"links":{"ap-south":{"state":"up",`) {
		t.Errorf("the faults are %s", r.body)
	}
	put("eu-west", `{"state":"up","delay":"80ms","loss":0.01,"direction":"both"}`).gives(200)
	put("mars", `{"state":"cut"}`).gives(404).as(unknownRegion, "mars")
	request(t, on, "GET", "/v1/faults/links/mars", nil).gives(404).as(unknownRegion, "mars")
	put("eu-west", `{`).gives(400).as(malformedJSON, "")
	put("eu-west", `{"stat":"cut"}`).gives(422).as(invalid, "stat")
	put("eu-west", `{"state":"broken"}`).gives(422).as(invalid, "")
	put("eu-west", `{"delay":5}`).gives(422).as(invalid, "")
}

type hand time.Duration

func (h *hand) Offset() time.Duration     { return time.Duration(*h) }
func (h *hand) SetOffset(d time.Duration) { *h = hand(d) }

func TestClockIsShiftedWhereThatIsEnabled(t *testing.T) {
	var h hand
	s := brokenServer(t, &broken{}, Config{Clock: &h})
	put := func(body string) *call { return request(t, s, "PUT", "/v1/faults/clock", body) }
	put(`{"offset":"-90m"}`).gives(200)
	if h.Offset() != -90*time.Minute {
		t.Errorf("the clock is shifted by %v", h.Offset())
	}
	if r := request(t, s, "GET", "/v1/faults/clock", nil).gives(200); r.body != `{"offset":"-1h30m0s"}`+"\n" {
		t.Errorf("the answer is %q", r.body)
	}
	put(`{`).gives(400).as(malformedJSON, "")
	put(`{}`).gives(422).as(invalid, "duration")
	put(`{"offset":60}`).gives(422).as(invalid, "-1h30m")
	put(`{"offset":"soon"}`).gives(422).as(invalid, "-1h30m")
	put(`{"offset":"25h"}`).gives(422).as(invalid, "24h")
	if h.Offset() != -90*time.Minute {
		t.Errorf("what was refused shifted the clock to %v", h.Offset())
	}
}

// TestProblemsAreDocumented compares README.md with the table.
func TestProblemsAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, known []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| ([0-9]{3}) \\| (.*) \\|$").FindAllStringSubmatch(string(readme), -1) {
		documented = append(documented, m[1]+" "+m[2]+" "+m[3])
	}
	used := map[*kind]bool{}
	for _, k := range kinds {
		known = append(known, fmt.Sprint(k.name, " ", k.status, " ", k.explain))
		if used[k] || k.explain == "" || k.title == "" {
			t.Errorf("%s is incomplete, or twice in the list", k.name)
		}
		used[k] = true
	}
	for _, e := range byError {
		if !used[e.kind] {
			t.Errorf("%s is not in the list", e.kind.name)
		}
	}
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("README.md documents\n%q\nthe table has\n%q", documented, known)
	}
}

// TestRoutesAreDocumented checks that README.md has each route.
func TestRoutesAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range brokenServer(t, &broken{}, Config{}).router.tree.Routes() {
		for method := range r.Handlers {
			if method == "HEAD" {
				continue
			}
			if want := "`" + method + " " + r.Pattern + "`"; !strings.Contains(string(readme), want) {
				t.Errorf("README.md lacks %s", want)
			}
		}
	}
}
