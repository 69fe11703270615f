package client

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fakeRegion answers probes at once, and other requests as it is told.
type fakeRegion struct {
	*httptest.Server
	answer   atomic.Pointer[http.HandlerFunc]
	requests atomic.Int64
	ready    atomic.Bool
}

func startFake(t *testing.T, name string, delay time.Duration) *fakeRegion {
	t.Helper()
	f := &fakeRegion{}
	f.ready.Store(true)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			select {
			case <-time.After(delay):
			case <-r.Context().Done():
			}
			if !f.ready.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		f.requests.Add(1)
		if h := f.answer.Load(); h != nil {
			(*h)(w, r)
			return
		}
		w.Header().Set(HeaderToken, "token of "+name)
		w.Header().Set(HeaderRegion, name)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeRegion) fails(status int, problem string) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		retryable := "false"
		if status == 503 || status == 429 {
			retryable = "true"
		}
		_, _ = io.WriteString(w, `{"type":"/problems/`+problem+`","status":`+itoa(status)+`,"retryable":`+retryable+`}`)
	})
	f.answer.Store(&h)
}

func TestOpenOrdersByRoundTrip(t *testing.T) {
	far, near := startFake(t, "far", 50*time.Millisecond), startFake(t, "near", 0)
	gone := closedAddr(t)
	c, err := Open(t.Context(), gone, far.URL, near.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Addr() != near.URL {
		t.Errorf("the nearest is %s, want %s", c.Addr(), near.URL)
	}
	if order := c.regions.candidates(); len(order) != 3 || !slices.Contains(order, "http://"+gone) {
		t.Errorf("the order is %v", order)
	}
	near.ready.Store(false)
	if err := c.Measure(t.Context()); err != nil || c.Addr() != far.URL {
		t.Errorf("%v: the nearest is %s", err, c.Addr())
	}
	far.ready.Store(false)
	if err := c.Measure(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("none is ready: %v", err)
	}
	if _, err := Open(t.Context()); err == nil {
		t.Error("opened none")
	}
	if _, err := Open(t.Context(), near.URL, "ftp://x"); err == nil {
		t.Error("opened what is no address")
	}
}

// What is safe goes on to the next region, with the token; nothing else does.
func TestFailOver(t *testing.T) {
	read := func(c *Client) error { _, err := c.Get(t.Context(), "c", "d", false); return err }
	write := func(c *Client) error {
		_, err := c.Put(t.Context(), "c", "d", []byte(`{}`), WriteOptions{})
		return err
	}
	for _, tt := range []struct {
		status            int
		problem           string
		readsOn, writesOn bool
	}{
		{503, "behind", true, true},
		{503, "fenced", true, true},
		{503, "catching-up", true, true},
		{503, "not-ready", true, true},
		{429, "busy", true, true},
		{507, "storage-full", true, true},
		{503, "timeout", true, false},
		{503, "stopped", true, false},
		{503, "storage", true, false},
		{503, "no-quorum", true, false},
		{500, "internal", true, false},
		{404, "no-such-document", false, false},
		{412, "precondition-failed", false, false},
	} {
		t.Run(tt.problem, func(t *testing.T) {
			for name, do := range map[string]func(*Client) error{"read": read, "write": write} {
				a, b := startFake(t, "a", 0), startFake(t, "b", 30*time.Millisecond)
				c, err := Open(t.Context(), a.URL, b.URL)
				if err != nil {
					t.Fatal(err)
				}
				a.fails(tt.status, tt.problem)
				err = do(c)
				on := tt.readsOn && name == "read" || tt.writesOn && name == "write"
				if on != (err == nil) || on != (b.requests.Load() == 1) || a.requests.Load() != 1 {
					t.Errorf("%s: %v; a got %d requests, b %d", name, err, a.requests.Load(), b.requests.Load())
				}
				if on && c.Token() != "token of b" {
					t.Errorf("%s: the token is %q", name, c.Token())
				}
				c.Close()
			}
		})
	}
	t.Run("connection", func(t *testing.T) {
		a, b := startFake(t, "a", 0), startFake(t, "b", 30*time.Millisecond)
		c, err := Open(t.Context(), a.URL, b.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		breaks := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		a.answer.Store(&breaks)
		// The write may have reached the region.
		if err := write(c); err == nil || b.requests.Load() != 0 {
			t.Errorf("a write whose connection broke: %v; b got %d requests", err, b.requests.Load())
		}
		if err := read(c); err != nil || b.requests.Load() != 1 {
			t.Errorf("a read whose connection broke: %v", err)
		}
		// From now on b goes first, for a while; and when nobody listens at a's
		// address any more a write has not reached it.
		if c.Addr() != b.URL {
			t.Errorf("%s goes first", c.Addr())
		}
		a.Close()
		clear(c.regions.down)
		if err := write(c); err != nil || b.requests.Load() != 2 {
			t.Errorf("a write that could not be sent: %v", err)
		}
		b.Close()
		if err := read(c); err == nil || !strings.Contains(err.Error(), a.URL) || !strings.Contains(err.Error(), b.URL) {
			t.Errorf("nobody is there: %v", err)
		}
	})
}

func TestOptionsAboutOtherRegions(t *testing.T) {
	var got []string
	status := http.StatusOK
	c := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RawQuery+" "+r.Header.Get("Prefer"))
		w.Header().Set(HeaderRegion, "us")
		w.Header().Set(HeaderAcked, "us,eu")
		w.Header().Set(HeaderRead, "us,ap")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"id":"d","created":true,"docs":[{"id":"d"}]}`)
	})
	o := WriteOptions{Acks: "majority", Wait: 1500 * time.Millisecond}
	check := func(r *Receipt, err error) {
		t.Helper()
		if err != nil || strings.Join(r.Acked, " ") != "us eu" || r.Pending != (status == 202) || r.Region != "us" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	for _, status = range []int{200, 202} {
		check(c.Put(t.Context(), "c", "d", nil, o))
		check(c.Patch(t.Context(), "c", "d", MergePatch, nil, o))
		check(c.Create(t.Context(), "c", nil, o))
		check(c.Delete(t.Context(), "c", "d", o))
		all, err := c.Batch(t.Context(), nil, o)
		check(&all[0], err)
	}
	status = http.StatusOK
	r, err := c.GetWith(t.Context(), "c", "d", ReadOptions{Read: "quorum", Types: true})
	if err != nil || strings.Join(r.Regions, " ") != "us ap" {
		t.Errorf("%+v, %v", r, err)
	}
	for i, want := range []string{"PUT", "PATCH", "POST", "DELETE", "POST", "PUT", "PATCH", "POST", "DELETE", "POST"} {
		if got[i] != want+" acks=majority wait=2" {
			t.Errorf("request %q", got[i])
		}
	}
	if got[10] != "GET read=quorum&types=1 " {
		t.Errorf("request %q", got[10])
	}
}
