package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func serveFunc(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"localhost:8080":         "http://localhost:8080",
		" http://h:1/ ":          "http://h:1",
		"https://h/eu/":          "https://h/eu",
		"[::1]:8080":             "http://[::1]:8080",
		"":                       "",
		"ftp://h":                "",
		"http://":                "",
		"http://h?x=1":           "",
		"http://h:1#a":           "",
		"http://h:port":          "",
		"http://bad host:1":      "",
		"http://user:pw@host:80": "http://user:pw@host:80",
	} {
		c, err := New(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken as %s", in, c.Addr())
			}
			continue
		}
		if err != nil || c.Addr() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

func TestTokenGoesAlongAndToOtherRegions(t *testing.T) {
	var got []string
	h := func(token string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.Header.Get(HeaderToken))
			w.Header().Set(HeaderToken, token)
			if r.Method == http.MethodDelete {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusPreconditionFailed)
				_, _ = io.WriteString(w, `{"type": "/problems/precondition-failed", "status": 412}`)
				return
			}
			_, _ = io.WriteString(w, "{}")
		}
	}
	a := serveFunc(t, h("one"))
	other := serveFunc(t, h("two"))
	b, err := a.At(other.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(t.Context(), "c", "d", false); err != nil {
		t.Fatal(err)
	}
	// Also what an error brings is kept.
	if _, err := b.Delete(t.Context(), "c", "d", WriteOptions{}); !errors.Is(err, ErrPrecondition) {
		t.Fatal(err)
	}
	// A probe has nothing to do with what was seen.
	if err := a.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Cluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := ",one,,two"; strings.Join(got, ",") != want || a.Token() != "one" {
		t.Errorf("tokens %q, then %q", got, a.Token())
	}
}

func TestErrorsAreTyped(t *testing.T) {
	var status int
	var media, body string
	c := serveFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	media = "application/problem+json"
	for s, want := range byStatus {
		status = s
		body = `{"type": "/problems/some-name", "title": "Title", "status": ` + itoa(s) + `, "detail": "what", "region": "eu", "retryable": true, "pointer": "/a"}`
		_, err := c.Get(t.Context(), "c", "d", false)
		if !errors.Is(err, want) {
			t.Errorf("%d: %v is not %v", s, err, want)
		}
		p, ok := errors.AsType[*ProblemError](err)
		if !ok || p.Name() != "some-name" || p.RetryAfter != 3*time.Second || p.Region != "eu" {
			t.Errorf("%+v", p)
		}
		if text := "eu: Title: what (at \"/a\") [" + itoa(s) + " some-name]"; err.Error() != text {
			t.Errorf("%q, want %q", err, text)
		}
	}
	status, body = 404, `{"type": "/problems/unknown-collection", "status": 404}`
	if _, err := c.Get(t.Context(), "c", "d", false); !errors.Is(err, ErrUnknownCollection) || !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	// Something else answers at the address.
	status, media, body = 502, "text/html", "<html>"
	if _, err := c.Get(t.Context(), "c", "d", false); err == nil || !strings.Contains(err.Error(), "is it a region of Meridian?") {
		t.Error(err)
	}
	status, media, body = 200, "text/html", "<html>"
	if _, err := c.Cluster(t.Context()); err == nil || !strings.Contains(err.Error(), "makes no sense") {
		t.Error(err)
	}
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

// closedAddr is an address at which nothing listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestUnreachable(t *testing.T) {
	addr := closedAddr(t)
	c, err := New(addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Cluster(t.Context())
	u, ok := errors.AsType[*UnreachableError](err)
	if !ok || u.Addr != "http://"+addr || !strings.HasPrefix(err.Error(), "no answer from http://"+addr+": ") {
		t.Errorf("%v", err)
	}
}

func TestNearestTakesTheFirstThatIsReady(t *testing.T) {
	ready := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	answered := make(chan struct{})
	far := serveFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // until the near one is taken
		close(answered)
	})
	not := serveFunc(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c, err := Nearest(t.Context(), far.Addr(), not.Addr(), closedAddr(t), ready.Addr())
	if err != nil || c.Addr() != ready.Addr() {
		t.Fatalf("%v: %v", c, err)
	}
	<-answered

	if _, err := Nearest(t.Context(), not.Addr(), closedAddr(t)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no answer from") {
		t.Errorf("%v", err)
	}
	if _, err := Nearest(t.Context()); err == nil {
		t.Error("nearest of none")
	}
	// One is not asked.
	if c, err := Nearest(t.Context(), not.Addr()); err != nil || c.Addr() != not.Addr() {
		t.Errorf("%v: %v", c, err)
	}
}

func TestPathsAndPages(t *testing.T) {
	var paths []string
	c := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.EscapedPath()+"?"+r.URL.RawQuery)
		switch r.URL.Query().Get("cursor") {
		case "":
			_, _ = io.WriteString(w, `{"docs": [{"id": "a", "etag": "\"1\"", "value": {"n": 12345678901234567}}, {"id": "b"}], "cursor": "next"}`)
		default:
			_, _ = io.WriteString(w, `{"docs": [{"id": "c"}]}`)
		}
	})
	var ids []string
	for d, err := range c.All(t.Context(), "a b", ListOptions{Prefix: "p/", Limit: 2, Types: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if d.ID == "a" && string(d.Value) != `{"n": 12345678901234567}` {
			t.Errorf("the value is %s", d.Value)
		}
		ids = append(ids, d.ID)
	}
	for _, id := range []string{"x/y", "..", "%"} {
		if _, err := c.Versions(t.Context(), "c", id, false); err != nil {
			t.Fatal(err)
		}
	}
	want := "/v1/collections/a%20b/docs?limit=2&prefix=p%2F&types=1\n" +
		"/v1/collections/a%20b/docs?cursor=next&limit=2&prefix=p%2F&types=1\n" +
		"/v1/collections/c/docs/x%2Fy/versions?\n" +
		"/v1/collections/c/docs/%2E%2E/versions?\n" +
		"/v1/collections/c/docs/%25/versions?"
	if got := strings.Join(paths, "\n"); got != want || strings.Join(ids, "") != "abc" {
		t.Errorf("%v\n%s", ids, got)
	}
}
