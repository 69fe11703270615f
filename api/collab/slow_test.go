package collab_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/fxamacker/cbor/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/api"
	"github.com/meridiandb/meridian/api/collab"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// A place is a region in a bubble of virtual time. Its connections are pipes,
// which hold nothing: what a client does not read, the region cannot write.
type place struct {
	t       *testing.T
	name    string
	handler http.Handler
	conns   chan net.Conn
	closed  sync.Once
	pipes   []net.Conn
	log     *lines
	metrics *prometheus.Registry
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		found := true
		for _, p := range parts {
			found = found && strings.Contains(line, p)
		}
		if found {
			return true
		}
	}
	return false
}

// Accept, Close and Addr make a place a net.Listener.
func (p *place) Accept() (net.Conn, error) {
	if c, ok := <-p.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p *place) Close() error   { p.closed.Do(func() { close(p.conns) }); return nil }
func (p *place) Addr() net.Addr { return &net.TCPAddr{} }

// places starts regions that are linked, and ends them with the test's bubble.
func places(t *testing.T, names ...string) (*memnet.Network, map[string]*place, func()) {
	t.Helper()
	network := memnet.New(memnet.Options{})
	out := map[string]*place{}
	var stops []func()
	var all []*region.Region
	for _, name := range names {
		tr, err := network.Transport(name, transport.Config{})
		if err != nil {
			t.Fatal(err)
		}
		peers := map[string]string{}
		for _, n := range names {
			if n != name {
				peers[n] = memnet.Addr(n)
			}
		}
		p := &place{t: t, name: name, conns: make(chan net.Conn), log: &lines{}, metrics: prometheus.NewRegistry()}
		log := slog.New(slog.NewTextHandler(p.log, nil))
		r, err := region.New(region.Config{Region: name, Cluster: "test", Peers: peers, Logger: log}, memstore.New(), tr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := api.NewServer(api.Config{Region: r, Log: log, Metrics: p.metrics, Gatherer: p.metrics})
		if err != nil {
			t.Fatal(err)
		}
		p.handler = s.Handler()
		hs := &http.Server{Handler: p.handler}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		running.Go(func() { _ = hs.Serve(p) })
		stops = append(stops, func() {
			for _, c := range p.pipes {
				_ = c.Close()
			}
			_ = hs.Close()
			cancel()
			running.Wait()
		})
		out[name], all = p, append(all, r)
	}
	meet(t, all)
	return network, out, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// meet waits until all regions are ready and hold the same. One that is ready alone
// is not for a moment when it meets another.
func meet(t *testing.T, regions []*region.Region) {
	t.Helper()
	for range 1000 {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		first := regions[0].Have()
		same := first.Len() >= len(regions)
		for _, r := range regions {
			same = same && r.Have().Compare(first) == crdt.Equal && r.Ready() == nil
		}
		if same {
			return
		}
	}
	t.Fatal("the regions do not meet")
}

// A sender is a client's end of a connection, whose writes do not wait.
type sender struct {
	net.Conn
	queue chan []byte
	done  chan struct{}
	once  sync.Once
}

func (s *sender) Write(b []byte) (int, error) {
	select {
	case s.queue <- bytes.Clone(b):
		return len(b), nil
	case <-s.done:
		return 0, net.ErrClosed
	}
}

func (s *sender) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Conn.Close()
}

func (s *sender) run() {
	for {
		select {
		case b := <-s.queue:
			_, _ = s.Conn.Write(b) // the reader notices
		case <-s.done:
			return
		}
	}
}

// do makes a request without a connection.
func (p *place) do(method, path, media, body string) (int, string) {
	p.t.Helper()
	r := httptest.NewRequestWithContext(p.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", media)
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// must repeats a request until it is answered as it has to be: a region is not
// ready at once.
func (p *place) must(status int, method, path, media, body string) string {
	p.t.Helper()
	got, text := 0, ""
	for range 100 {
		if got, text = p.do(method, path, media, body); got == status {
			return text
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Fatalf("%s %s in %s: %d, %s", method, path, p.name, got, text)
	return ""
}

const (
	mediaJSON = "application/json"
	mediaOps  = "application/vnd.meridian.ops+json"
)

func (p *place) dial(id string) *client {
	p.t.Helper()
	c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		end, there := net.Pipe()
		here := &sender{Conn: end, queue: make(chan []byte, 10_000), done: make(chan struct{})}
		go here.run()
		p.pipes = append(p.pipes, here)
		p.conns <- there
		return here, nil
	}}}
	conn, _, err := websocket.Dial(p.t.Context(), "http://region/v1/collections/notes/sync", &websocket.DialOptions{HTTPClient: c}) //nolint:bodyclose // conn is the body
	if err != nil {
		p.t.Fatal(err)
	}
	conn.SetReadLimit(collab.MaxMessage)
	return (&client{t: p.t, conn: conn, id: id}).join(p.name)
}

// heed lets a client take everything in at once, and answer pings.
func (c *client) heed() *client {
	c.inbox = make(chan frame, 10_000)
	go func() {
		defer close(c.inbox)
		for {
			_, b, err := c.conn.Read(context.Background())
			if err != nil {
				return
			}
			var m frame
			if cbor.Unmarshal(b, &m) == nil {
				c.inbox <- m
			}
		}
	}()
	return c
}

// until takes messages in until the replica has so many changes.
func (r *replica) until(n int) {
	r.c.t.Helper()
	for r.h.Len() < n {
		m := r.c.receive()
		if m["type"] == "sync" {
			r.take(m)
			r.say("sync")
		}
	}
}

// value is the value of a metric without labels.
func (p *place) value(name string) float64 {
	p.t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	p.t.Fatalf("there is no metric %s", name)
	return 0
}

// edit makes n writes to a document, one after the other.
func (p *place) edit(path string, n int) {
	p.t.Helper()
	for range n {
		p.must(http.StatusOK, http.MethodPatch, path, mediaOps, `[{"op":"inc","path":"/edits","value":1}]`)
	}
}

// Of two clients that stop taking in what they are sent, one begins again in
// time and the other does not. Nobody else notices.
func TestI08_SlowClientsAreBoundedAndDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, regions, stop := places(t, "us-east")
		defer stop()
		p := regions["us-east"]
		p.must(http.StatusCreated, http.MethodPut, "/v1/collections/notes", mediaJSON, `{"type":"automerge"}`)
		const edits = 300
		quick, slow, dead := p.dial("quick").heed(), p.dial("slow"), p.dial("dead")
		a := quick.replica(1)
		path := "/v1/collections/notes/docs/" + a.id
		p.must(http.StatusCreated, http.MethodPut, path, mediaJSON, `{"text":"hello","edits":{"$counter":0}}`)
		b, c := slow.replica(1), dead.replica(1)
		for _, r := range []*replica{a, b, c} {
			r.sync("request")
		}
		before := a.h.Len()

		stopped := time.Now()
		p.edit(path, edits)
		a.until(before + edits)
		for range 20 { // more presence than is kept for anybody
			for range collab.PresenceRate {
				quick.send(frame{"type": "ephemeral", "documentId": a.id, "count": 1, "sessionId": "s", "data": []byte("here")})
			}
			time.Sleep(time.Second / 2)
		}
		if waited := time.Since(stopped); waited >= collab.WriteTimeout {
			t.Fatalf("the quick client needed %v", waited)
		}

		// The slow one gets what there is now, not what there was on the way.
		slow.heed()
		messages, heard := 0, 0
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			select {
			case m := <-slow.inbox:
				switch m["type"] {
				case "sync":
					messages++
					b.take(m)
					b.say("sync")
				case "ephemeral":
					heard++
				}
			case <-time.After(time.Until(end)):
			}
		}
		if b.h.Len() != before+edits {
			t.Errorf("the slow client has %d changes of %d", b.h.Len(), before+edits)
		}
		if messages > 4 {
			t.Errorf("%d messages waited for the slow client, for %d edits", messages, edits)
		}
		if heard == 0 || heard > 257 {
			t.Errorf("%d ephemeral messages waited for the slow client", heard)
		}

		// The dead one is dropped at its time, and is told of in the log.
		time.Sleep(time.Until(stopped.Add(collab.WriteTimeout - time.Millisecond)))
		synctest.Wait()
		if n := p.value("meridian_http_syncs"); n != 3 || p.log.has("takes nothing in") {
			t.Fatalf("%v clients before the time", n)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !p.log.has("a client is dropped: it takes nothing in", "peer=dead") || p.log.has("dropped", "peer=slow") || p.log.has("dropped", "peer=quick") {
			t.Errorf("the log: %s", p.log.buf.String())
		}
		if open, dropped := p.value("meridian_http_syncs"), p.value("meridian_http_sync_clients_dropped_total"); open != 2 || dropped != 1 {
			t.Errorf("%v clients are there, %v were dropped", open, dropped)
		}
		for {
			if _, err := dead.read(); err != nil {
				break
			}
		}
		p.edit(path, 1)
		a.until(before + edits + 1)
		b.until(before + edits + 1)
	})
}

// A document has a strict home. Edits that come elsewhere are made there, or wait
// while it is away.
func TestEditsGoToTheHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, regions, stop := places(t, "us-east", "eu-west")
		defer stop()
		east, west := regions["us-east"], regions["eu-west"]
		east.must(http.StatusCreated, http.MethodPut, "/v1/collections/notes", mediaJSON, `{"type":"automerge","home":{"region":"us-east","mode":"strict"}}`)
		west.must(http.StatusOK, http.MethodGet, "/v1/collections/notes", "", "")
		cs := changes(t, "3.5.0")
		ana, bob := west.dial("ana").heed(), east.dial("bob").heed()
		a, b := ana.replica(1), bob.replica(1)
		path := "/v1/collections/notes/docs/" + a.id
		west.must(http.StatusNotFound, http.MethodGet, path, "", "")

		a.add(cs[:2])
		a.sync("sync") // in sync means: the region of the client has it back
		if text := east.must(http.StatusOK, http.MethodGet, path, "", ""); text != west.must(http.StatusOK, http.MethodGet, path, "", "") {
			t.Errorf("the home has %s", text)
		}
		b.sync("request")

		// The home is away: the client is told, and keeps its edit.
		network.Cut("us-east", "eu-west")
		time.Sleep(5 * time.Second)
		a.add(cs[2:3])
		a.say("sync")
		for m := ana.receive(); m["type"] != "doc-unavailable"; m = ana.receive() {
			a.take(m)
			a.say("sync")
		}
		if !west.log.has("wait for the home", "peer=ana") {
			t.Errorf("the log: %s", west.log.buf.String())
		}
		// It does not hear of it again and again, and is asked for its edit now and then.
		asked, told := 0, 0
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
			select {
			case m := <-ana.inbox:
				switch m["type"] {
				case "sync":
					asked++
					a.take(m)
					a.say("sync")
				case "doc-unavailable":
					told++
				}
			case <-time.After(time.Until(end)):
			}
		}
		if told < 3 || told > 7 || asked > 100 {
			t.Errorf("in a minute it was told %d times, in %d messages", told, asked)
		}
		// Another document of the connection goes on all the while.
		b.add(cs[2:3]) // the same, by another way
		b.add(cs[3:4])
		b.sync("sync")

		network.Heal("us-east", "eu-west")
		for !a.peer.Synced(a.h) || a.h.Len() < 4 {
			if m := ana.receive(); m["type"] == "sync" {
				a.take(m)
				a.say("sync")
			}
		}
		a.add(cs[4:])
		a.sync("sync")
		b.until(len(cs))
		for _, p := range []*place{east, west} {
			status, saved := p.do(http.MethodGet, path+"/automerge", "", "")
			if status != http.StatusOK || len(saved) == 0 {
				t.Errorf("%s: %d", p.name, status)
			}
		}
		if one, other := east.must(http.StatusOK, http.MethodGet, path, "", ""), west.must(http.StatusOK, http.MethodGet, path, "", ""); one != other {
			t.Errorf("%s and %s", one, other)
		}
	})
}
