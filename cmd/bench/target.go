package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/meridiandb/meridian/api/client"
)

// Bounds of requests.
const (
	requestTimeout = 60 * time.Second
	maxAnswer      = 64 << 20
	bufferBytes    = 8 << 10
)

// A target is a region under load. The client is a lean one, since it runs on
// the machine of what it measures more often than not.
type target struct {
	name string // of the region, once it has told
	base string
	http *fasthttp.HostClient
}

func newTarget(addr string, conns int) (*target, error) {
	cl, err := client.New(addr) // completes the address
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer cl.Close()
	u, err := url.Parse(cl.Addr())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	host := u.Host
	if u.Port() == "" {
		host += map[bool]string{true: ":443", false: ":80"}[u.Scheme == "https"]
	}
	return &target{
		name: host, base: cl.Addr(),
		http: &fasthttp.HostClient{
			Addr: host, IsTLS: u.Scheme == "https", MaxConns: conns,
			ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
			ReadBufferSize: bufferBytes, WriteBufferSize: bufferBytes, MaxResponseBodySize: maxAnswer,
			NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
			// What was sent twice would be counted once.
			MaxIdemponentCallAttempts: 1,
		},
	}, nil
}

func (t *target) close() { t.http.CloseIdleConnections() }

// A call is a request and its answer, used again and again by one goroutine.
type call struct {
	req  *fasthttp.Request
	res  *fasthttp.Response
	uri  []byte
	path []byte
	body []byte
}

func newCall() *call {
	return &call{req: fasthttp.AcquireRequest(), res: fasthttp.AcquireResponse()}
}

func (c *call) release() {
	fasthttp.ReleaseRequest(c.req)
	fasthttp.ReleaseResponse(c.res)
}

// begin starts a request; path and body are filled in by the caller.
func (c *call) begin() {
	c.req.Reset()
	c.path, c.body = c.path[:0], c.body[:0]
}

// A failure is an answer that is an error, or none at all.
type failure struct {
	status int
	kind   string // the last part of the problem's type, or what went wrong
	retry  time.Duration
}

func (f *failure) Error() string {
	if f.status == 0 {
		return f.kind
	}
	return fmt.Sprintf("%d %s", f.status, f.kind)
}

// refused reports whether nothing was written.
func (f *failure) refused() bool {
	return f.status == fasthttp.StatusTooManyRequests || f.status >= 400 && f.status < 500
}

// do sends the request. It returns a *failure or nil.
func (c *call) do(t *target, method string) error {
	c.req.Header.SetMethod(method)
	c.uri = append(append(c.uri[:0], t.base...), c.path...)
	c.req.SetRequestURIBytes(c.uri)
	if len(c.body) > 0 {
		c.req.SetBodyRaw(c.body)
	}
	if err := t.http.Do(c.req, c.res); err != nil {
		return &failure{kind: explain(err)}
	}
	status := c.res.StatusCode()
	if status >= 200 && status < 300 {
		return nil
	}
	f := &failure{status: status, kind: http.StatusText(status)}
	var problem struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(c.res.Body(), &problem) == nil && problem.Type != "" {
		f.kind = path.Base(problem.Type)
	}
	if n, err := strconv.Atoi(string(c.res.Header.Peek("Retry-After"))); err == nil {
		f.retry = time.Duration(n) * time.Second
	}
	return f
}

// explain leaves out what differs from one connection to the next.
func explain(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

func (c *call) token() string { return string(c.res.Header.Peek(client.HeaderToken)) }

// after makes the answer wait until the region holds what a token names.
func (c *call) after(token string) {
	c.req.Header.Set(client.HeaderToken, token)
	c.req.Header.Set("Prefer", "wait=30")
}

func (c *call) docsPath(collection string) {
	c.path = append(c.path, "/v1/collections/"...)
	c.path = append(c.path, url.PathEscape(collection)...)
	c.path = append(c.path, "/docs"...)
}

// A snapshot is what the regions tell of themselves at one moment.
type snapshot struct {
	at      time.Time
	regions []client.Cluster
}

// A region under a load that is more than it takes may have to be asked several
// times how it is.
const (
	lookEvery  = 5 * time.Millisecond
	lookWithin = 20 * time.Second
)

// look asks all regions how they are.
func look(ctx context.Context, targets []*target) (snapshot, error) {
	s := snapshot{at: time.Now(), regions: make([]client.Cluster, len(targets))}
	for i, t := range targets {
		err := t.look(ctx, &s.regions[i])
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return s, fmt.Errorf("ask %s how it is: %w", t.base, err)
		}
	}
	return s, nil
}

func (t *target) look(ctx context.Context, to *client.Cluster) error {
	c := newCall()
	defer c.release()
	start := time.Now()
	for {
		c.begin()
		c.path = append(c.path, "/v1/cluster"...)
		err := c.do(t, fasthttp.MethodGet)
		if err == nil {
			return json.Unmarshal(c.res.Body(), to)
		}
		var f *failure
		if !errors.As(err, &f) || f.retry == 0 || time.Since(start) > lookWithin || !pause(ctx, lookEvery) {
			return err
		}
	}
}

// everywhere counts the changes that all regions hold.
func (s *snapshot) everywhere() (n uint64) {
	for replica := range s.regions[0].Vector {
		least := s.regions[0].Vector[replica]
		for i := range s.regions {
			least = min(least, s.regions[i].Vector[replica])
		}
		n += least
	}
	return n
}

// anywhere counts the changes that some region holds.
func (s *snapshot) anywhere() (n uint64) {
	most := map[string]uint64{}
	for i := range s.regions {
		for replica, seq := range s.regions[i].Vector {
			most[replica] = max(most[replica], seq)
		}
	}
	for _, seq := range most {
		n += seq
	}
	return n
}
