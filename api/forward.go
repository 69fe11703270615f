package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/meridiandb/meridian/region"
)

// A request that another region has to answer goes there as it came, with its
// headers and its body, and so does the answer: preconditions, tokens,
// acknowledgements and whatever else is asked for hold there as if the client
// had gone there itself. The regions have authenticated each other.

// errForwarded says that another region's answer has been passed on.
var errForwarded = errors.New("answered by another region")

// maxVia bounds the regions through which a request goes before one answers.
// Only while homes move there is more than one.
const maxVia = 4

// hopByHop are headers of a connection, not of a request or answer.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Expect", HeaderVia,
}

// A heldBody is the body of a request, which is kept in case it has to be forwarded.
type heldBody struct {
	io.ReadCloser
	buf *buffer
}

func (x *exchange) holdBody(r *http.Request) {
	x.body.ReadCloser = r.Body
	r.Body = &x.body
}

func (x *exchange) releaseBody() {
	if b := x.body.buf; b != nil {
		b.held = false
		b.release()
	}
}

// forward lets another region answer. It returns errForwarded if it has, and an
// error that wraps region.ErrUnreachable if it has not been asked.
func (x *exchange) forward(r *http.Request, to string) error {
	if len(x.via) >= maxVia {
		return problemf(homeAway, "the request went through %s, and each of them took another region for the one that should answer: a home is just moving", strings.Join(x.via, ", "))
	}
	request, err := x.encodeRequest(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), x.remaining(r)+x.s.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(x.s.closing, cancel)
	defer stop()
	leave, err := x.queue()
	if err != nil {
		return err
	}
	defer leave()
	response, err := x.s.region.Forward(ctx, to, request)
	switch {
	case err == nil:
		return x.relay(r, to, response)
	case errors.Is(err, region.ErrForwardBusy):
		return problemf(busy, "%v", err)
	case errors.Is(err, region.ErrForwardLost):
		return problemf(timeout, "the request went to %s: %v", to, err)
	}
	return err
}

// encodeRequest writes a request as HTTP/1.1.
func (x *exchange) encodeRequest(r *http.Request) ([]byte, error) {
	var body []byte
	if x.body.buf != nil {
		body = x.body.buf.b
	}
	out := &http.Request{
		Method: r.Method, URL: &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
		Host: r.Host, Header: r.Header.Clone(), ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	if out.Host == "" {
		out.Host = x.s.region.Name()
	}
	for _, name := range hopByHop {
		out.Header.Del(name)
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header["User-Agent"] = []string{""} // or one is made up
	}
	out.Header[HeaderVia] = []string{strings.Join(append(x.via, x.s.region.Name()), ",")}
	var buf bytes.Buffer
	buf.Grow(len(body) + firstRead)
	if err := out.Write(&buf); err != nil {
		return nil, problemf(malformedRequest, "the request cannot be forwarded: %v", err)
	}
	return buf.Bytes(), nil
}

// relay passes an answer on.
func (x *exchange) relay(r *http.Request, from string, response []byte) error {
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(response)), r)
	if err != nil {
		return problemf(timeout, "the answer of %s cannot be read, and what became of the request is not known: %v", from, err)
	}
	defer func() { _ = res.Body.Close() }() // memory
	h := x.Header()
	clear(h)
	for name, values := range res.Header {
		h[name] = values
	}
	via := res.Header.Get(HeaderVia)
	for _, name := range hopByHop {
		h.Del(name)
	}
	if via != "" {
		via += ","
	}
	h[HeaderVia] = []string{via + x.s.region.Name()}
	x.status = res.StatusCode // its headers are complete
	x.ResponseWriter.WriteHeader(res.StatusCode)
	_, _ = io.Copy(x.ResponseWriter, res.Body) // the client has gone if this fails
	return errForwarded
}

// serveForwarded answers a request that another region forwards.
func (s *Server) serveForwarded(ctx context.Context, request []byte) []byte {
	answer := capture{header: http.Header{}}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		x := &exchange{ResponseWriter: &answer, s: s}
		x.fail(&http.Request{Method: http.MethodGet, Header: http.Header{}, URL: &url.URL{}}, problemf(malformedRequest, "a region forwards what cannot be read: %v", err))
		return answer.encode(nil)
	}
	via := strings.Split(r.Header.Get(HeaderVia), ",")
	r.Header.Del(HeaderVia)
	r.RemoteAddr = via[0]
	ctx, cancel := context.WithTimeout(ctx, bodyTimeout+MaxWait+s.cfg.Timeout)
	defer cancel()
	s.serve(&answer, r.WithContext(ctx), via)
	return answer.encode(r)
}

// A capture is a http.ResponseWriter that keeps the answer.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *capture) Write(b []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(b)
}

// encode writes the answer as HTTP/1.1.
func (c *capture) encode(r *http.Request) []byte {
	c.WriteHeader(http.StatusOK)
	res := http.Response{
		StatusCode: c.status, ProtoMajor: 1, ProtoMinor: 1, Header: c.header, Request: r,
		ContentLength: int64(c.body.Len()), Body: io.NopCloser(&c.body),
	}
	var buf bytes.Buffer
	buf.Grow(c.body.Len() + firstRead)
	if err := res.Write(&buf); err != nil {
		return nil // memory; a header that cannot be written is not made here
	}
	return buf.Bytes()
}

// fresher lets a region answer that has what the request's token names, where the
// client has asked for that: at once, or after the wait that it prefers. It
// returns nil if there is none.
func (x *exchange) fresher(r *http.Request) error {
	for _, to := range x.s.region.Fresh(x.asked) {
		err := x.forward(r, to)
		if !errors.Is(err, region.ErrUnreachable) {
			return err
		}
	}
	return nil
}

// prefersWait reports whether a request says for how long it would wait.
func prefersWait(h http.Header) (time.Duration, bool) {
	for name, text := range preferences(h) {
		if strings.EqualFold(name, "wait") && text != "" {
			return preferredWait(h), true
		}
	}
	return 0, false
}
