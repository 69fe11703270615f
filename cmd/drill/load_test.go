package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// lists is a region that has the documents it is given.
func lists(t *testing.T, name string, docs map[string]string) *region {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var page client.Page
		for id, v := range docs {
			page.Docs = append(page.Docs, client.Document{ID: id, Value: json.RawMessage(v)})
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(s.Close)
	cl, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &region{name: name, client: cl}
}

func TestWhatIsLostIsFound(t *testing.T) {
	docs := map[string]string{}
	a := lists(t, "a", docs)
	l := newLoad(&Config{Collection: "drill"}, []*region{a}, time.Now())
	w := l.writers[0]
	w.made, w.maybe = []int{1, 2}, []int{3}
	w.added[0], w.open[0] = 5, 2
	whole := func() {
		for k := range shared {
			docs[l.sharedID(k)] = `{"writes":0}`
		}
		docs[l.sharedID(0)] = `{"writes":6}`
		for n := 1; n <= 2; n++ {
			docs[l.ownID("a", n)] = fmt.Sprintf(`{"region":"a","n":%d}`, n)
		}
	}
	for _, test := range []struct {
		breaks func()
		want   string
	}{
		{func() {}, ""},
		{func() { docs[l.sharedID(0)] = `{"writes":5}` }, ""},
		{func() { docs[l.sharedID(0)] = `{"writes":7}` }, ""},
		{func() { delete(docs, l.ownID("a", 2)) }, l.ownID("a", 2)},
		{func() { docs[l.ownID("a", 2)] = `{"region":"a","n":1}` }, l.ownID("a", 2)},
		{func() { docs[l.sharedID(0)] = `{"writes":4}` }, "counts 4 writes"},
		{func() { docs[l.sharedID(0)] = `{"writes":8}` }, "counts 8 writes"},
		{func() { delete(docs, l.sharedID(3)) }, l.sharedID(3)},
	} {
		whole()
		test.breaks()
		lost, err := l.lost(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(lost, "; "); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("lost: %q, want %q", got, test.want)
		}
	}
}

func TestBadDrillIsRefused(t *testing.T) {
	good := Config{Addrs: []string{"a", "b"}, For: DefaultFor, Writes: DefaultWrites, Collection: DefaultCollection, Patience: DefaultPatience}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, breaks := range map[string]func(*Config){
		"one region":      func(c *Config) { c.Addrs = c.Addrs[:1] },
		"no time":         func(c *Config) { c.For = 0 },
		"too long":        func(c *Config) { c.For = MaxFor + 1 },
		"negative writes": func(c *Config) { c.Writes = -1 },
		"too many writes": func(c *Config) { c.For = time.Hour },
		"no collection":   func(c *Config) { c.Collection = "" },
		"no patience":     func(c *Config) { c.Patience = 0 },
		"three regions":   func(c *Config) { c.Link = "a:b:c" },
	} {
		bad := good
		if breaks(&bad); name == "too many writes" {
			bad.Writes = MaxWrites
		}
		if err := bad.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLinkToCut(t *testing.T) {
	status := func(name string, peers ...string) *region {
		s := &client.Cluster{Region: name}
		for _, p := range peers {
			state := client.LinkUp
			if p == "far" {
				state = "down"
			}
			s.Regions = append(s.Regions, client.Region{Region: p, Link: client.Link{State: state}})
		}
		return &region{name: name, status: s}
	}
	two := []*region{status("a", "b", "c", "far"), status("b", "a", "c", "far")}
	for link, want := range map[string]string{
		"": "a–b", "a:b": "a–b", "b:a": "b–a", "a:c": "a–c", "c:a": "a–c", "b": "b–a b–c",
	} {
		cuts, _, err := find(two, link)
		var got []string
		for _, c := range cuts {
			got = append(got, c.at.name+"–"+c.peer)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: cut %v, %v, want %s", link, got, err, want)
		}
	}
	for _, link := range []string{"x", "a:x", "x:a", "c", "c:far", "a:a", "a:far"} {
		if cuts, _, err := find(two, link); err == nil {
			t.Errorf("%q: cut %v", link, cuts)
		}
	}
}
