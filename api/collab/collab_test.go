package collab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/fxamacker/cbor/v2"

	"github.com/meridiandb/meridian/api"
	"github.com/meridiandb/meridian/api/collab"
	"github.com/meridiandb/meridian/crdt/automerge/amsync"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

const patience = 30 * time.Second

// serve runs a region with a collection notes of type automerge.
func serve(t *testing.T, origins ...string) *httptest.Server {
	t.Helper()
	tr, err := memnet.New(memnet.Options{}).Transport("us-east", transport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	r, err := region.New(region.Config{Region: "us-east", Cluster: "test", Logger: log}, memstore.New(), tr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s, err := api.NewServer(api.Config{Region: r, Log: log, TrustedOrigins: origins})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	for deadline := time.Now().Add(patience); ; {
		res := request(t, h, http.MethodPut, "/v1/collections/notes", `{"type":"automerge"}`)
		if res == http.StatusCreated {
			return h
		}
		if time.Now().After(deadline) {
			t.Fatalf("the region is not ready: %d", res)
		}
	}
}

func request(t *testing.T, h *httptest.Server, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// A client speaks the protocol for itself.
type client struct {
	t    *testing.T
	conn *websocket.Conn
	id   string
	// inbox is what was read, if somebody reads all the time.
	inbox chan frame
}

type frame map[string]any

func dial(t *testing.T, h *httptest.Server, id string) *client {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), h.URL+"/v1/collections/notes/sync", nil) //nolint:bodyclose // conn is the body
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(collab.MaxMessage)
	t.Cleanup(func() { _ = conn.CloseNow() })
	c := &client{t: t, conn: conn, id: id}
	if id != "" {
		c.join("us-east")
	}
	return c
}

func (c *client) join(name string) *client {
	c.t.Helper()
	c.send(frame{"type": "join", "supportedProtocolVersions": []string{"1"}, "peerMetadata": frame{"storageId": nil, "isEphemeral": true}})
	if m := c.receive(); m["type"] != "peer" || m["selectedProtocolVersion"] != "1" || m["targetId"] != c.id ||
		m["peerMetadata"].(map[any]any)["storageId"] != region.StorageID("test", name) {
		c.t.Fatalf("%v", m)
	}
	return c
}

func (c *client) send(m frame) {
	c.t.Helper()
	m["senderId"] = c.id
	b, err := cbor.Marshal(m)
	if err == nil {
		err = c.conn.Write(c.t.Context(), websocket.MessageBinary, b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (frame, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if c.inbox != nil {
		select {
		case m, ok := <-c.inbox:
			if !ok {
				return nil, io.EOF
			}
			return m, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	_, b, err := c.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var m frame
	return m, cbor.Unmarshal(b, &m)
}

func (c *client) receive() frame {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// refused wants the connection to be closed, with a reason.
func (c *client) refused(status websocket.StatusCode, reason string) {
	c.t.Helper()
	for {
		m, err := c.read()
		if err == nil && m["type"] == "error" && !strings.Contains(fmt.Sprint(m["message"]), reason) {
			c.t.Errorf("the message is %v", m)
		}
		if err == nil {
			continue
		}
		var e websocket.CloseError
		if !errors.As(err, &e) || e.Code != status || !strings.Contains(e.Reason, reason) {
			c.t.Errorf("closed by %v, want %v, %q", err, status, reason)
		}
		return
	}
}

// A replica is a client's document.
type replica struct {
	c    *client
	id   string
	h    *amsync.History
	peer *amsync.Peer
}

func (c *client) replica(n byte) *replica {
	return &replica{c: c, id: collab.DocumentID([16]byte{6: 0x70, 8: 0x80, 15: n}), h: amsync.NewHistory(), peer: amsync.NewPeer()}
}

// add puts changes of a file of package validate into the replica.
func (r *replica) add(changes []*validate.Change) {
	r.c.t.Helper()
	for _, c := range changes {
		if err := r.h.Add(validate.Links{Hash: c.Hash, Deps: c.Deps, Raw: c.Raw}); err != nil {
			r.c.t.Fatal(err)
		}
	}
}

func (r *replica) say(kind string) {
	r.c.t.Helper()
	m := r.peer.Generate(r.h)
	if m == nil {
		return
	}
	r.c.send(frame{"type": kind, "targetId": "x", "documentId": r.id, "data": m.Append(nil, true)})
}

// sync exchanges messages until both sides have the same.
func (r *replica) sync(kind string) {
	r.c.t.Helper()
	r.say(kind)
	for !r.peer.Synced(r.h) || r.h.Len() == 0 {
		m := r.c.receive()
		if m["type"] != "sync" || m["documentId"] != r.id {
			r.c.t.Fatalf("%v", m)
		}
		r.take(m)
		r.say("sync")
	}
}

func (r *replica) take(m frame) {
	r.c.t.Helper()
	in, err := validate.ParseSync(m["data"].([]byte), validate.Limits{})
	if err != nil {
		r.c.t.Fatal(err)
	}
	ready, err := r.peer.Offer(r.h, in)
	if err != nil {
		r.c.t.Fatal(err)
	}
	r.add(ready)
	r.peer.Receive(r.h, in)
}

// changes are those of a document that an Automerge library of a version made.
func changes(t *testing.T, version string) []*validate.Change {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "crdt", "automerge", "validate", "testdata", "valid", "js"+version+"-doc9.bin"))
	if err != nil {
		t.Fatal(err)
	}
	cs, err := validate.Parse(b, validate.Limits{})
	if err != nil || len(cs) < 5 {
		t.Fatalf("%d changes, %v", len(cs), err)
	}
	return cs
}

func TestTwoClientsHaveTheSame(t *testing.T) {
	h := serve(t)
	cs := changes(t, "3.5.0")
	a, b := dial(t, h, "a").replica(1), dial(t, h, "b").replica(1)
	b.say("request")
	if m := b.c.receive(); m["type"] != "doc-unavailable" || m["documentId"] != b.id || m["targetId"] != "b" {
		t.Fatalf("a document that nobody has: %v", m)
	}
	a.add(cs[:len(cs)/2])
	a.sync("sync")
	// What was unavailable is offered as soon as it is there.
	b.sync("sync")
	if status := request(t, h, http.MethodGet, "/v1/collections/notes/docs/"+a.id, ""); status != http.StatusOK {
		t.Errorf("by REST: %d", status)
	}
	a.add(cs[len(cs)/2:])
	a.sync("sync")
	for b.h.Len() < len(cs) {
		b.take(b.c.receive())
		b.say("sync")
	}
	b.c.send(frame{"type": "ephemeral", "documentId": b.id, "count": 1, "sessionId": "s", "data": []byte("here")})
	for {
		m := a.c.receive()
		if m["type"] == "sync" {
			continue
		}
		if m["type"] != "ephemeral" || m["senderId"] != "b" || m["targetId"] != "a" || !bytes.Equal(m["data"].([]byte), []byte("here")) ||
			m["count"] != uint64(1) || m["sessionId"] != "s" {
			t.Fatalf("%v", m)
		}
		break
	}
}

func TestDeletedDocuments(t *testing.T) {
	h := serve(t)
	cs := changes(t, "3.5.0")
	a := dial(t, h, "a").replica(1)
	a.add(cs[:len(cs)-1])
	a.sync("sync")
	path := "/v1/collections/notes/docs/" + a.id
	if status := request(t, h, http.MethodDelete, path, ""); status != http.StatusNoContent {
		t.Fatal(status)
	}
	// A client that has it open and writes nothing does not bring it back.
	if m := a.c.receive(); m["type"] != "doc-unavailable" {
		t.Fatalf("%v", m)
	}
	a.peer.Restart()
	a.say("sync")
	other := a.c.replica(2)
	other.add(cs)
	other.sync("sync") // so the first has been looked at
	if status := request(t, h, http.MethodGet, path, ""); status != http.StatusNotFound {
		t.Fatal(status)
	}
	// An edit does, and the document is whole again.
	a.add(cs[len(cs)-1:])
	a.sync("sync")
	if status := request(t, h, http.MethodGet, path, ""); status != http.StatusOK {
		t.Fatal(status)
	}
}

func TestBadClientsAreRefused(t *testing.T) {
	h := serve(t)
	sync := func(id string, data []byte) func(c *client) {
		return func(c *client) {
			c.send(frame{"type": "sync", "targetId": "x", "documentId": id, "data": data})
		}
	}
	good := collab.DocumentID([16]byte{1})
	for name, test := range map[string]struct {
		id     string
		do     func(c *client)
		reason string
	}{
		"no join":     {"", func(c *client) { c.send(frame{"type": "sync"}) }, "not join"},
		"version":     {"", func(c *client) { c.id = "x"; c.send(frame{"type": "join", "supportedProtocolVersions": []string{"9"}}) }, "protocol version"},
		"two joins":   {"a", func(c *client) { c.id = "b"; c.send(frame{"type": "join"}) }, "once"},
		"document id": {"a", sync("notes", []byte{0x42}), "not a document id"},
		"wrong sum":   {"a", sync(good[:len(good)-1]+"1", []byte{0x42}), "not a document id"},
		"nonsense":    {"a", sync(good, []byte("nonsense")), "not a sync message"},
		"modulo zero": {"a", sync(good, []byte{0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0}), "Bloom filter"},
		"not CBOR":    {"a", func(c *client) { _ = c.conn.Write(t.Context(), websocket.MessageBinary, []byte{0xff}) }, "not a message"},
		"text":        {"a", func(c *client) { _ = c.conn.Write(t.Context(), websocket.MessageText, []byte("{}")) }, "binary"},
		"deep nesting": {"a", func(c *client) {
			_ = c.conn.Write(t.Context(), websocket.MessageBinary, bytes.Repeat([]byte{0x81}, 1000))
		}, "not a message"},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, h, test.id)
			test.do(c)
			c.refused(websocket.StatusPolicyViolation, test.reason)
		})
	}
}

// A change that is well-formed by itself and does not fit costs the client the
// document, not the connection.
func TestAChangeThatDoesNotFitIsRefused(t *testing.T) {
	h := serve(t)
	cs := changes(t, "3.5.0")
	c := dial(t, h, "a")
	a, other := c.replica(1), c.replica(2)
	a.add(cs)
	a.sync("sync")
	a.add(changes(t, "2.2.9")) // of the same actors, with the same numbers
	a.say("sync")
	for {
		m := c.receive()
		if m["type"] == "doc-unavailable" {
			break
		}
		a.take(m)
		a.say("sync")
	}
	other.add(cs)
	other.sync("sync")
}

func TestTheRouteIsGuarded(t *testing.T) {
	h := serve(t, "http://friend.example")
	path := h.URL + "/v1/collections/notes/sync"
	for origin, want := range map[string]int{"http://evil.example": http.StatusForbidden, "http://friend.example": 101, h.URL: 101} {
		conn, res, err := websocket.Dial(t.Context(), path, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if res == nil || res.StatusCode != want {
			t.Errorf("from %s: %v, %v", origin, res, err)
		}
		if conn != nil {
			_ = conn.CloseNow()
		}
		if res != nil && res.Body != nil {
			_ = res.Body.Close()
		}
	}
	for path, want := range map[string]int{
		"/v1/collections/nobody/sync": http.StatusNotFound, "/v1/collections/notes/sync": http.StatusUpgradeRequired, "/v1/collections/notes/sync?x=1": http.StatusBadRequest,
	} {
		if status := request(t, h, http.MethodGet, path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	request(t, h, http.MethodPut, "/v1/collections/plain", `{"type":"document"}`)
	if status := request(t, h, http.MethodGet, "/v1/collections/plain/sync", ""); status != http.StatusUnprocessableEntity {
		t.Errorf("a collection of documents: %d", status)
	}
}

func TestDocumentIDs(t *testing.T) {
	// As automerge-repo writes these bytes.
	id := collab.DocumentID([16]byte{0: 1, 15: 255})
	if err := collab.CheckDocumentID(id); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", id + "1", strings.Repeat("1", 33), id[1:], "0OIl"} {
		if err := collab.CheckDocumentID(bad); !errors.Is(err, collab.ErrID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
