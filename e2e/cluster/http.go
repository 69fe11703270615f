package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Media types.
const (
	JSON       = "application/json"
	MergePatch = "application/merge-patch+json"
	JSONPatch  = "application/json-patch+json"
	Ops        = "application/vnd.meridian.ops+json"
	Siblings   = "application/vnd.meridian.siblings+json"
)

const (
	maxIdleConns = 256
	httpTimeout  = 45 * time.Second // longer than the longest wait of a region
	maxAnswer    = 64 << 20
)

// newClient returns a client that dials as it is told, nil for as usual.
func newClient(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Timeout:   httpTimeout,
		Transport: &http.Transport{DialContext: dial, MaxIdleConns: 0, MaxIdleConnsPerHost: maxIdleConns, ReadBufferSize: 16 << 10},
	}
}

// Client returns a client that reaches the region, and waits for answers for as
// long as it is told.
func (n *Node) Client(timeout time.Duration) *http.Client {
	c := *n.client
	c.Timeout = timeout
	return &c
}

// A Request is what a test asks of a region. The zero Method is GET.
type Request struct {
	Method, Path string
	Body         string
	// Type is the media type of the body, JSON unless said otherwise, "-" for none.
	Type string
	// Header are further headers: name, value, name, value, …
	Header []string
	// Token is a Meridian-Token: the region answers when it holds what it names.
	Token string
}

// A Response is an answer, wholly read.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Token is the causal token of the answer.
func (r *Response) Token() string { return r.Header.Get("Meridian-Token") }

// ETag is the entity tag of the answer.
func (r *Response) ETag() string { return r.Header.Get("ETag") }

// Text is the body without the line end.
func (r *Response) Text() string { return strings.TrimSuffix(string(r.Body), "\n") }

// longestWait lets a read with a token wait as long as a region can be asked to.
const longestWait = "wait=30"

// Do sends a request. Answers of any status are no error.
func (n *Node) Do(ctx context.Context, q Request) (*Response, error) {
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, n.URL()+q.Path, strings.NewReader(q.Body))
	if err != nil {
		return nil, err
	}
	switch {
	case q.Type == "" && q.Body != "":
		req.Header.Set("Content-Type", JSON)
	case q.Type != "" && q.Type != "-":
		req.Header.Set("Content-Type", q.Type)
	}
	if q.Token != "" {
		req.Header.Set("Meridian-Token", q.Token)
		req.Header.Set("Prefer", longestWait)
	}
	for i := 0; i+1 < len(q.Header); i += 2 {
		req.Header.Set(q.Header[i], q.Header[i+1])
	}
	res, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return &Response{res.StatusCode, res.Header, body}, nil
}

// A StatusError is an answer with another status than was asked for.
type StatusError struct {
	Request Request
	Region  string
	*Response
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %s %s: %d %s", e.Region, e.Request.Method, e.Request.Path, e.Status, e.Text())
}

// Try sends a request that has to be answered by one of these statuses.
func (n *Node) Try(ctx context.Context, q Request, statuses ...int) (*Response, error) {
	res, err := n.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, s := range statuses {
		if res.Status == s {
			return res, nil
		}
	}
	return res, &StatusError{q, n.Region, res}
}

// Must is Try for the goroutine of the test.
func (n *Node) Must(tb testing.TB, q Request, statuses ...int) *Response {
	tb.Helper()
	res, err := n.Try(tb.Context(), q, statuses...)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// DocPath is the path of a document.
func DocPath(collection, id string) string {
	return "/v1/collections/" + url.PathEscape(collection) + "/docs/" + url.PathEscape(id)
}

// PutRequest is a PUT of a document.
func PutRequest(collection, id, doc string, header ...string) Request {
	return Request{Method: http.MethodPut, Path: DocPath(collection, id), Body: doc, Header: header}
}

// Put writes a document.
func (n *Node) Put(tb testing.TB, collection, id, doc string, header ...string) *Response {
	tb.Helper()
	return n.Must(tb, PutRequest(collection, id, doc, header...), http.StatusOK, http.StatusCreated)
}

// Patch edits a document.
func (n *Node) Patch(tb testing.TB, collection, id, media, patch string) *Response {
	tb.Helper()
	return n.Must(tb, Request{Method: http.MethodPatch, Path: DocPath(collection, id), Type: media, Body: patch}, http.StatusOK, http.StatusCreated)
}

// Delete deletes a document.
func (n *Node) Delete(tb testing.TB, collection, id string) *Response {
	tb.Helper()
	return n.Must(tb, Request{Method: http.MethodDelete, Path: DocPath(collection, id)}, http.StatusNoContent)
}

// Get reads a document that has to be there.
func (n *Node) Get(tb testing.TB, collection, id string, header ...string) *Response {
	tb.Helper()
	return n.Must(tb, Request{Path: DocPath(collection, id), Header: header}, http.StatusOK)
}

// GetAfter reads a document when the region holds what a token names.
func (n *Node) GetAfter(tb testing.TB, token, collection, id string) *Response {
	tb.Helper()
	return n.Must(tb, Request{Path: DocPath(collection, id), Token: token}, http.StatusOK)
}

// MakeCollection makes a collection with settings, and waits until all regions
// that run have it.
func (c *Cluster) MakeCollection(tb testing.TB, name, settings string) {
	tb.Helper()
	path := "/v1/collections/" + url.PathEscape(name)
	nodes := c.running()
	token := nodes[0].Must(tb, Request{Method: http.MethodPut, Path: path, Body: settings}, http.StatusCreated).Token()
	for _, n := range nodes[1:] {
		n.Must(tb, Request{Path: path, Token: token}, http.StatusOK)
	}
}

// Versions are the answer of GET …/versions, as far as tests look at it.
type Versions struct {
	ETag      string          `json:"etag"`
	Exists    bool            `json:"exists"`
	Shown     json.RawMessage `json:"shown"`
	Versions  []Version       `json:"versions"`
	Conflicts []Conflict      `json:"conflicts"`
}

// A Version is one of several concurrent ones.
type Version struct {
	Dot    string          `json:"dot"`
	Region string          `json:"region"`
	Shown  bool            `json:"shown"`
	Value  json.RawMessage `json:"value"`
}

// A Conflict is a place that was written concurrently.
type Conflict struct {
	Path     string    `json:"path"`
	Policy   string    `json:"policy"`
	Open     bool      `json:"open"`
	Why      string    `json:"why"`
	Versions []Version `json:"versions"`
}

// Versions reads all versions of a document.
func (n *Node) Versions(tb testing.TB, collection, id string) (v Versions) {
	tb.Helper()
	Decode(tb, n.Must(tb, Request{Path: DocPath(collection, id) + "/versions"}, http.StatusOK).Body, &v)
	return v
}

// Decode decodes JSON.
func Decode(tb testing.TB, b []byte, into any) {
	tb.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		tb.Fatalf("%v in %s", err, b)
	}
}

// Status is the answer of GET /v1/cluster, as far as tests look at it.
type Status struct {
	Region  string            `json:"region"`
	Replica string            `json:"replica"`
	Vector  map[string]uint64 `json:"vector"`
	Stable  map[string]uint64 `json:"stable"`
	Problem string            `json:"problem"`
	// Topology is the shape of the links.
	Topology struct {
		Kind string `json:"kind"`
		Hub  string `json:"hub"`
	} `json:"topology"`
	Inbox struct {
		Changes int `json:"changes"`
		Bytes   int `json:"bytes"`
	} `json:"inbox"`
	Log struct {
		Changes uint64            `json:"changes"`
		Cut     map[string]uint64 `json:"cut"`
		Removed uint64            `json:"removed"`
	} `json:"log"`
	Snapshot *struct {
		Region     string `json:"region"`
		Documents  uint64 `json:"documents"`
		Bytes      uint64 `json:"bytes"`
		TotalBytes uint64 `json:"total_bytes"`
		Replaying  bool   `json:"replaying"`
	} `json:"snapshot"`
	Storage struct {
		Records int64 `json:"records"`
		Journal int64 `json:"journal"`
	} `json:"storage"`
	// Conflicts is the log of them.
	Conflicts struct {
		Records int   `json:"records"`
		Bytes   int64 `json:"bytes"`
	} `json:"conflicts"`
	Regions []struct {
		Region string            `json:"region"`
		Vector map[string]uint64 `json:"vector"`
		Lag    uint64            `json:"lag"`
		Link   struct {
			State     string  `json:"state"`
			RTTMs     float64 `json:"rtt_ms"`
			LastError string  `json:"last_error"`
		} `json:"link"`
	} `json:"regions"`
}

// Cluster asks the region how the cluster looks from there.
func (n *Node) Cluster(ctx context.Context) (*Status, error) {
	res, err := n.Try(ctx, Request{Path: "/v1/cluster"}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	s := &Status{}
	return s, json.Unmarshal(res.Body, s)
}

// MustCluster is Cluster for the goroutine of the test.
func (n *Node) MustCluster(tb testing.TB) *Status {
	tb.Helper()
	s, err := n.Cluster(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// AwaitLink waits until the link with a peer is in a state, as seen from here.
func (n *Node) AwaitLink(tb testing.TB, peer *Node, state string) {
	tb.Helper()
	Await(tb, Patience, fmt.Sprintf("the link of %s with %s to be %s", n.Region, peer.Region, state), func() (bool, string) {
		s, err := n.Cluster(tb.Context())
		if err != nil {
			return false, err.Error()
		}
		for _, r := range s.Regions {
			if r.Region == peer.Region {
				return r.Link.State == state, fmt.Sprintf("%+v", r.Link)
			}
		}
		return false, "no such region"
	})
}
