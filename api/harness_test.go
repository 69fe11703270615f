package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

var _ Region = (*region.Region)(nil)

// A world is some regions on one memory network, each behind a Server. It lives
// in a synctest bubble.
type world struct {
	t      *testing.T
	net    *memnet.Network
	names  []string
	tune   func(*region.Config, *Config)
	stores map[string]*memstore.Store
	stops  map[string]func()

	mu      sync.RWMutex // of regions and servers, for tests that start some again
	regions map[string]*region.Region
	servers map[string]*Server
}

// inWorld runs a test in a bubble with the regions named.
func inWorld(t *testing.T, names []string, tune func(*region.Config, *Config), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, net: memnet.New(memnet.Options{}), names: names, tune: tune,
			stores: map[string]*memstore.Store{}, stops: map[string]func(){},
			regions: map[string]*region.Region{}, servers: map[string]*Server{},
		}
		for _, name := range names {
			w.stores[name] = memstore.New()
			w.start(name)
		}
		defer func() {
			for _, name := range names {
				w.stops[name]()
			}
		}()
		w.settle()
		test(w)
	})
}

// start runs a region on its store, behind a new server.
func (w *world) start(name string) {
	w.t.Helper()
	tr, err := w.net.Transport(name, transport.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	peers := map[string]string{}
	for _, n := range w.names {
		if n != name {
			peers[n] = memnet.Addr(n)
		}
	}
	rc := region.Config{Region: name, Cluster: "test", Peers: peers, Logger: slog.New(slog.DiscardHandler)}
	var sc Config
	if w.tune != nil {
		w.tune(&rc, &sc)
	}
	r, err := region.New(rc, w.stores[name], tr)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			w.t.Errorf("region %s: %v", name, err)
		}
	}()
	sc.Region = r
	s, err := NewServer(sc)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.regions[name], w.servers[name] = r, s
	w.stops[name] = func() { cancel(); <-done }
}

// alone runs a test with one region.
func alone(t *testing.T, test func(w *world)) {
	t.Helper()
	inWorld(t, []string{"us-east"}, nil, test)
}

// settle waits until all regions are ready and hold the same.
func (w *world) settle() {
	w.t.Helper()
	names := slices.Sorted(maps.Keys(w.regions))
	for range 1000 {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		first := w.regions[names[0]].Have()
		same := first.Len() >= len(names)
		for _, n := range names {
			same = same && w.regions[n].Have().Compare(first) == crdt.Equal && w.regions[n].Ready() == nil
		}
		if same {
			return
		}
	}
	w.t.Fatal("the regions do not converge")
}

// meet waits until every region is linked with every other, and has been told so
// by all: before that, changes and queries may still go around by a third.
func (w *world) meet() {
	w.t.Helper()
	const told = 2 * time.Second // some reports of each
	apart := func() bool {
		for _, name := range w.names {
			status, err := w.regions[name].Cluster(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			for _, p := range status.Regions {
				if p.Link.State != region.LinkStateUp {
					return true
				}
			}
		}
		return false
	}
	for range 1000 {
		if !apart() {
			time.Sleep(told)
			synctest.Wait()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("the regions do not meet")
}

// A call is a request in the making.
type call struct {
	t       *testing.T
	handler http.Handler
	r       *http.Request
}

// on starts a request to a region. The body may be a string, an io.Reader or nil.
func (w *world) on(name, method, path string, body any) *call {
	w.t.Helper()
	w.mu.RLock()
	defer w.mu.RUnlock()
	return request(w.t, w.servers[name], method, path, body)
}

// do starts a request to the only region.
func (w *world) do(method, path string, body any) *call {
	w.t.Helper()
	return w.on("us-east", method, path, body)
}

func request(t *testing.T, h http.Handler, method, path string, body any) *call {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case string:
		reader = strings.NewReader(b)
	case io.Reader:
		reader = b
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, reader)
	if reader != nil {
		r.Header.Set("Content-Type", MediaJSON)
	}
	return &call{t, h, r}
}

// with adds a header.
func (c *call) with(name, value string) *call {
	c.r.Header.Set(name, value)
	return c
}

// A reply is what came back.
type reply struct {
	t      *testing.T
	status int
	http.Header
	body string
}

// send makes the request and returns what came, and the token, whatever it is.
func (c *call) send() (token string, r *reply) {
	c.t.Helper()
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, c.r)
	res := w.Result()
	return res.Header.Get(HeaderToken), &reply{c.t, res.StatusCode, res.Header, w.Body.String()}
}

// gives makes the request and checks the status, and what has to hold of every answer.
func (c *call) gives(status int) *reply {
	c.t.Helper()
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, c.r)
	res := w.Result()
	r := &reply{c.t, res.StatusCode, res.Header, w.Body.String()}
	what := c.r.Method + " " + c.r.URL.EscapedPath()
	if res.StatusCode != status {
		c.t.Fatalf("%s: status %d, want %d: %s", what, res.StatusCode, status, r.body)
	}
	if _, err := decodeToken(r.Get(HeaderToken)); err != nil || r.Get(HeaderToken) == "" {
		c.t.Errorf("%s: bad token %q in the answer: %v", what, r.Get(HeaderToken), err)
	}
	if r.Get(HeaderRegion) == "" {
		c.t.Errorf("%s: no %s", what, HeaderRegion)
	}
	if c.r.Method == http.MethodGet && r.Get(HeaderStaleness) == "" {
		c.t.Errorf("%s: no %s", what, HeaderStaleness)
	}
	if status >= 400 && c.r.Method != http.MethodHead {
		p := r.problem()
		if p.Status != status || p.Title == "" || p.Detail == "" || p.Region != r.Get(HeaderRegion) || r.Get("Content-Type") != MediaProblem {
			c.t.Errorf("%s: incomplete problem %s", what, r.body)
		}
		if p.Retryable != (r.Get("Retry-After") != "") {
			c.t.Errorf("%s: retryable %v, Retry-After %q", what, p.Retryable, r.Get("Retry-After"))
		}
	}
	return r
}

func (r *reply) problem() (p Problem) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		r.t.Fatalf("no problem: %q: %v", r.body, err)
	}
	return p
}

// as checks that the answer is a problem of the given type, whose detail says what.
func (r *reply) as(k *kind, says string) {
	r.t.Helper()
	p := r.problem()
	if p.Type != k.uri() || !strings.Contains(p.Detail, says) {
		r.t.Errorf("got problem %s: %q, want %s: %q", p.Type, p.Detail, k.uri(), says)
	}
}

// is checks the body.
func (r *reply) is(body string) *reply {
	r.t.Helper()
	if strings.TrimSpace(r.body) != body {
		r.t.Errorf("got body %s, want %s", r.body, body)
	}
	return r
}

// json decodes the body.
func (r *reply) json(v any) *reply {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		r.t.Fatalf("%q: %v", r.body, err)
	}
	return r
}

func (r *reply) etag() string { return r.Get("Etag") }

const aDoc = "/v1/collections/carts/docs/a"
