package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// A fake is a region that stores nothing.
type fake struct {
	mu     sync.Mutex
	writes uint64
	sum    int64
	// lost increments are acknowledged and not counted.
	lost bool
	// stall, if set, is waited for by the next write once measuring has begun: when
	// it was looked at for the second time.
	stall time.Duration
	looks int
	// refuse is a status that writes get.
	refuse int
	// feeds are sent what is published, each time as often as times says.
	feeds []chan string
	times int
}

// feed is a feed of server-sent events.
func (f *fake) feed(w http.ResponseWriter, r *http.Request) {
	if f.refuse != 0 {
		http.Error(w, `{"type":"/problems/busy"}`, f.refuse)
		return
	}
	events := make(chan string, 10_000)
	f.mu.Lock()
	f.feeds = append(f.feeds, events)
	f.mu.Unlock()
	fmt.Fprint(w, ": heartbeat\nid: 0\n\n")
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case e := <-events:
			fmt.Fprintf(w, "id: 1\ndata: {\"region\":\"fake\",\"docs\":[{\"value\":%s}]}\n\n", e)
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/changes") {
		f.feed(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodPut && strings.Contains(string(body), sentMember) {
		for range f.times {
			for _, events := range f.feeds {
				events <- string(body)
			}
		}
	}
	w.Header().Set(client.HeaderToken, "t")
	switch {
	case r.URL.Path == "/v1/cluster":
		f.looks++
		fmt.Fprintf(w, `{"region":"fake","vector":{"r":%d}}`, f.writes)
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/docs/"+string(appendKey(nil, 0))):
		fmt.Fprintf(w, `{"n":%d}`, f.sum)
	case r.Method == http.MethodGet:
		fmt.Fprint(w, `{"n":0}`)
	case f.refuse != 0 && r.Method == http.MethodPatch:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(f.refuse)
		fmt.Fprint(w, `{"type":"/problems/busy"}`)
	default:
		f.writes++
		if r.Method == http.MethodPatch && strings.Contains(string(body), `"inc"`) && !f.lost {
			f.sum++
		}
		if r.Method == http.MethodPatch && f.looks > 1 {
			time.Sleep(f.stall)
			f.stall = 0
		}
	}
}

func serve(t *testing.T, f *fake) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func quick(addr, workload string) Config {
	return Config{
		Addrs: []string{addr}, Workload: workload, Collection: "bench", Records: 10, Clients: 1,
		Duration: 300 * time.Millisecond, Warmup: time.Millisecond,
	}
}

// A region that stalls keeps a single client from sending what is due. These
// requests count all the same, with the time for which they waited.
func TestOpenLoopCountsWhatAStallHeldUp(t *testing.T) {
	const stall = 200 * time.Millisecond
	f := &fake{stall: stall}
	cfg := quick(serve(t, f), "update")
	cfg.Rate, cfg.Warmup, cfg.Duration = 500, 0, 500*time.Millisecond
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// About 100 of 250 were due during the stall, the mean of them waited half of it.
	if r.Total.P90 < 50 || r.Total.Max < stall.Seconds()*1000*0.9 {
		t.Errorf("p90 %v ms, max %v ms", r.Total.P90, r.Total.Max)
	}
	// Another one, for what is still under way there may use up the stall.
	cfg = quick(serve(t, &fake{stall: stall}), "update")
	cfg.Warmup, cfg.Duration = 0, 500*time.Millisecond
	if r, err = Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if r.Total.Max < stall.Seconds()*1000*0.9 {
		t.Errorf("closed loop: max %v ms", r.Total.Max)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	cfg := quick(serve(t, &fake{}), "C")
	cfg.Rate, cfg.Clients = 200, 8
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Total.Count > 65 {
		t.Errorf("%d requests in 0.3 s at 200 per second", r.Total.Count)
	}
}

func TestLostIncrementsAreFound(t *testing.T) {
	f := &fake{}
	r, err := Run(t.Context(), quick(serve(t, f), "counter"))
	if err != nil || r.Checked == "" {
		t.Fatalf("%v, %+v", err, r)
	}
	f.lost = true
	if _, err := Run(t.Context(), quick(serve(t, f), "counter")); !errors.Is(err, ErrWrong) {
		t.Errorf("%v", err)
	}
}

func TestDeliveriesToFeedsAreMeasuredAndChecked(t *testing.T) {
	cfg := quick(serve(t, &fake{times: 1}), "feed")
	cfg.Readers, cfg.Rate = 5, 100
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Feeds; f == nil || len(f.Deliveries) != 1 || f.Deliveries[0].From != "fake" || f.Deliveries[0].Count < 5*r.Total.Count-5 || r.Checked == "" {
		t.Errorf("%+v of %+v, checked %q", f, r.Total, r.Checked)
	}
	if text := r.String(); !strings.Contains(text, "fake → fake") || !strings.Contains(text, "5 readers") {
		t.Error(text)
	}
	cfg = quick(serve(t, &fake{times: 2}), "feed")
	cfg.Readers = 2
	if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrWrong) {
		t.Errorf("told twice: %v", err)
	}
	cfg = quick(serve(t, &fake{refuse: http.StatusTooManyRequests}), "feed")
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "429 busy") {
		t.Errorf("no feed is let in: %v", err)
	}
	cfg = quick("http://127.0.0.1:1", "update")
	cfg.Readers = 1
	if err := cfg.Validate(); !errors.Is(err, ErrConfig) {
		t.Errorf("readers of another workload: %v", err)
	}
}

func TestRefusalsAreCountedByWhatTheySay(t *testing.T) {
	cfg := quick(serve(t, &fake{refuse: http.StatusTooManyRequests}), "update")
	cfg.Rate, cfg.Clients = 100, 4
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed["429 busy"] == 0 || r.Total.Count != 0 {
		t.Errorf("%+v", r)
	}
	if text := r.String(); !strings.Contains(text, "× 429 busy") {
		t.Error(text)
	}
}

func TestDocumentsHaveTheSizeThatWasAskedFor(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{200, 1}, {1000, 10}, {1003, 7}, {leastSize(100), 100}, {MaxSize, 3}} {
		c := newContent(&Config{Size: shape[0], Fields: shape[1]})
		doc := c.appendDocument(nil, rng)
		var m map[string]string
		if err := json.Unmarshal(doc, &m); err != nil || len(doc) != shape[0] || len(m) != shape[1] {
			t.Errorf("%v: %d bytes in %d fields, %v", shape, len(doc), len(m), err)
		}
		if err := json.Unmarshal(c.appendPatch(nil, rng), &m); err != nil || len(m) != shape[1] {
			t.Errorf("%v: patch: %v", shape, err)
		}
	}
}

func TestZipfianHasItsSkew(t *testing.T) {
	const n, draws = 1000, 200_000
	z := newZipfian(n)
	rng := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, n)
	for range draws {
		counts[z.draw(rng)]++
	}
	for _, i := range []int{0, 1, 9, 99, 500} {
		want := 1 / math.Pow(float64(i+1), skew) / zeta(n)
		// The method of Gray et al. is exact for the first two only.
		if got := float64(counts[i]) / draws; got < want*0.6 || got > want*1.6 {
			t.Errorf("document %d: share %v, want about %v", i, got, want)
		}
	}
	for _, n := range []int{1, 2, 3} {
		for range 1000 {
			if k := newZipfian(n).draw(rng); k < 0 || k >= int64(n) {
				t.Fatalf("%d of %d", k, n)
			}
		}
	}
}

func TestKeysAreOfDocumentsThatAreThere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []string{KeysUniform, KeysZipfian, KeysLatest} {
		k := newKeyspace(kind, 1000)
		for range 10_000 {
			if n := k.choose(rng); n < 0 || n >= k.next.Load() {
				t.Fatalf("%s: %d", kind, n)
			}
			k.insert()
		}
	}
}

func TestChangesEverywhereAreThoseThatAllHold(t *testing.T) {
	s := snapshot{regions: make([]client.Cluster, 2)}
	s.regions[0].Vector = client.Vector{"a": 10, "b": 2}
	s.regions[1].Vector = client.Vector{"a": 4, "b": 5, "c": 1}
	if s.everywhere() != 6 || s.anywhere() != 16 {
		t.Errorf("%d everywhere, %d anywhere", s.everywhere(), s.anywhere())
	}
}

func TestWorkloadsAreWhole(t *testing.T) {
	for _, w := range Workloads {
		sum := 0
		for _, s := range w.mix {
			sum += s.percent
		}
		if sum != 100 {
			t.Errorf("%s: %d %%", w.Name, sum)
		}
		cfg := Config{Workload: strings.ToLower(w.Name), Collection: "c", Duration: time.Second}
		if err := cfg.Validate(); err != nil || cfg.Workload != w.Name {
			t.Errorf("%s: %v", w.Name, err)
		}
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"there is no workload": func(c *Config) { c.Workload = "Z" },
		"clients must be":      func(c *Config) { c.Clients = -1 },
		"regions must be":      func(c *Config) { c.Regions = 10 },
		"keys must be":         func(c *Config) { c.Keys = "gaussian" },
		"to must be":           func(c *Config) { c.To = "second" },
		"needs a collection":   func(c *Config) { c.Workload, c.Type = "counter", TypeRegister },
		"take at least":        func(c *Config) { c.Size, c.Fields = 10, 10 },
		"duration must be":     func(c *Config) { c.Duration = 0 },
		"acks":                 func(c *Config) { c.Acks = "," },
		"topology":             func(c *Config) { c.Topology = "blob" },
	} {
		cfg := Config{Workload: "A", Collection: "c", Duration: time.Second}
		change(&cfg)
		if err := cfg.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestReportsAreComparedByWhatTheyHave(t *testing.T) {
	report := func(rate, p99 float64) *Report {
		o := Operation{"read", rate, Latency{Count: 100, P50: 1, P99: p99}}
		r := newReport(&Config{Workload: "C", Clients: 64})
		r.Operations, r.Total = []Operation{o}, o
		r.Total.Name = "total"
		return r
	}
	old, now := report(1000, 2), report(1500, 3)
	now.Config.Clients = 16
	b, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if old, err = ParseReport(b); err != nil {
		t.Fatal(err)
	}
	text := now.Compare(old)
	for _, want := range []string{"clients 64, now 16", "+50.0 %", "read p99 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := ParseReport([]byte(`{"format": 99}`)); err == nil {
		t.Error("a report of another format was taken")
	}
}
