package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Headers of Meridian's own.
const (
	HeaderToken         = "Meridian-Token"
	HeaderRegion        = "Meridian-Region"
	HeaderStaleness     = "Meridian-Staleness-Ms"
	HeaderBase          = "Meridian-Base"
	HeaderConflict      = "Meridian-Conflict"
	HeaderConflictCount = "Meridian-Conflict-Count"
	HeaderAcked         = "Meridian-Acked"
	HeaderRead          = "Meridian-Read"
)

// DefaultAddr is where a region listens unless it is told otherwise.
const DefaultAddr = "http://127.0.0.1:8080"

const (
	// DefaultTimeout bounds one request. It leaves room for a wait for a token.
	DefaultTimeout = 60 * time.Second
	// MaxAnswerBytes bounds the body of an answer that is read.
	MaxAnswerBytes = 64 << 20
	maxIdleConns   = 32
)

// A Client talks to one region, or to the nearest of several (see Open). It is
// safe for concurrent use.
type Client struct {
	base    string
	regions *regions // nil for one
	http    *http.Client
	session *session
}

// A session is the causal token, shared by the clients of several regions.
type session struct {
	mu    sync.Mutex
	token string
}

// New returns a client of the region at an address: a URL, or host:port.
func New(addr string) (*Client, error) {
	base, err := baseURL(addr)
	if err != nil {
		return nil, err
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.MaxIdleConnsPerHost = maxIdleConns
	return &Client{
		base:    base,
		http:    &http.Client{Transport: tr, Timeout: DefaultTimeout},
		session: &session{},
	}, nil
}

// baseURL completes an address.
func baseURL(addr string) (string, error) {
	text := strings.TrimSpace(addr)
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	text = strings.TrimRight(text, "/")
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is no address of a region; write host:port, or a URL such as %s", addr, DefaultAddr)
	}
	return text, nil
}

// At returns a client of the region at another address, with the same token: it
// sees what this one has seen, and the other way round.
func (c *Client) At(addr string) (*Client, error) {
	base, err := baseURL(addr)
	if err != nil {
		return nil, err
	}
	return &Client{base: base, http: c.http, session: c.session}, nil
}

// Addr is the URL that requests go to first.
func (c *Client) Addr() string {
	if c.regions != nil {
		return c.regions.candidates()[0]
	}
	return c.base
}

// Token is the causal token of the last answer, "" before the first.
func (c *Client) Token() string {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.token
}

func (c *Client) keepToken(token string) {
	if token == "" {
		return
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.session.token = token
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A request is what do sends.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	header http.Header
	body   []byte
	// loose requests neither send nor keep the token.
	loose bool
	// ownKey says that the idempotency key is not the caller's.
	ownKey bool
}

// An answer is a successful one, wholly read.
type answer struct {
	status int
	header http.Header
	body   []byte
	base   string // the URL of who answered
}

// do sends a request. An error is an *UnreachableError, a *ProblemError, or the
// context's.
func (c *Client) do(ctx context.Context, q request) (*answer, error) {
	u := c.base + q.path
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	if token := c.Token(); token != "" && !q.loose {
		req.Header.Set(HeaderToken, token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswerBytes+1))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if len(body) > MaxAnswerBytes {
		return nil, fmt.Errorf("the answer of %s is longer than %d bytes", u, MaxAnswerBytes)
	}
	if !q.loose {
		c.keepToken(res.Header.Get(HeaderToken))
	}
	if res.StatusCode >= http.StatusBadRequest || res.StatusCode < http.StatusOK {
		return nil, problem(res, body)
	}
	return &answer{res.StatusCode, res.Header, body, c.base}, nil
}

// unreachable leaves out what url.Error repeats.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &UnreachableError{Addr: c.base, Err: err}
}

// decode sends a request and decodes the JSON of its answer.
func (c *Client) decode(ctx context.Context, q request, into any) (*answer, error) {
	a, err := c.send(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return nil, fmt.Errorf("the answer of %s to %s %s makes no sense: %w", c.base, q.method, q.path, err)
	}
	return a, nil
}
