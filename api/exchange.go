package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/meridiandb/meridian/crdt"
)

// Headers of Meridian's own. They are written in canonical form, so that they
// can be set in an http.Header as a map.
const (
	HeaderToken         = "Meridian-Token"
	HeaderRegion        = "Meridian-Region"
	HeaderStaleness     = "Meridian-Staleness-Ms"
	HeaderBase          = "Meridian-Base"
	HeaderConflict      = "Meridian-Conflict"
	HeaderConflictCount = "Meridian-Conflict-Count"
	HeaderAcked         = "Meridian-Acked"
	HeaderRead          = "Meridian-Read"
	HeaderVia           = "Meridian-Via"
	HeaderChanges       = "Meridian-History-Changes"
	HeaderOperations    = "Meridian-History-Operations"
)

// Media types of bodies.
const (
	MediaJSON       = "application/json"
	MediaProblem    = "application/problem+json"
	MediaMergePatch = "application/merge-patch+json"
	MediaJSONPatch  = "application/json-patch+json"
	MediaOps        = "application/vnd.meridian.ops+json"
	MediaBased      = "application/vnd.meridian.based+json"
	MediaSiblings   = "application/vnd.meridian.siblings+json"
	MediaAutomerge  = "application/vnd.automerge"
)

// Header values that never change, shared by all answers.
var (
	jsonMedia     = []string{MediaJSON}
	problemMedia  = []string{MediaProblem}
	siblingsMedia = []string{MediaSiblings}
	amMedia       = []string{MediaAutomerge}
	textMedia     = []string{"text/plain; charset=utf-8"}
	acceptPatch   = []string{MediaMergePatch + ", " + MediaJSONPatch + ", " + MediaOps}
	noStore       = []string{"no-store"}
	revalidate    = []string{"no-cache"}
	varyAccept    = []string{"Accept"}
)

// An exchange is a request being answered. It is the http.ResponseWriter of the
// handlers and adds what every answer carries.
type exchange struct {
	http.ResponseWriter
	s      *Server
	status int          // 0 until the header is written
	route  string       // the pattern that was matched
	match  *chi.Context // and the parameters of the path
	feed   bool         // it lasts until the client goes

	// asked is the vector of the request's token; have, if known, is what the
	// answer shows. The answer's token covers both, so that a client that keeps
	// the last token it got loses nothing, not even by an error.
	asked, have crdt.Vector
	hasHave     bool
	// common says that other answers are likely to carry the same token.
	common bool
	values []string // room for values of headers

	deadline time.Time // up to which the request waits, once that was asked
	acks     acks
	cookie   cookieUse
	keyed

	body heldBody
	via  []string // regions through which the request came here
	// among are the regions that can acknowledge, nil for all.
	among []string
	// fallback lets a region that is fresh enough answer if this one is not.
	fallback bool
}

var exchanges = sync.Pool{New: func() any { return &exchange{match: chi.NewRouteContext()} }}

// saw notes the vector that the answer shows.
func (x *exchange) saw(have crdt.Vector) { x.have, x.hasHave = have, true }

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// headerValues is how many headers of an answer have values of their own as a rule.
const headerValues = 2

// set sets a header, whose name is in canonical form. The values of an answer
// share their room, which is not used again: whoever serves may keep the header.
func (x *exchange) set(name, value string) {
	if len(x.values) == cap(x.values) {
		x.values = make([]string, 0, headerValues)
	}
	x.values = append(x.values, value)
	n := len(x.values)
	x.Header()[name] = x.values[n-1 : n : n]
}

// WriteHeader adds the headers that every answer carries.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	x.status = status
	if !x.hasHave {
		x.have = x.s.region.Have()
	}
	h := x.Header()
	h[HeaderRegion] = x.s.regionName
	token := x.s.token(x.have.Join(x.asked), x.common)
	h[HeaderToken] = token
	if x.cookie.wanted {
		x.setCookie(token[0])
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.ResponseWriter.Write(b)
}

// answer writes a whole answer.
func (x *exchange) answer(r *http.Request, status int, media []string, body []byte) {
	h := x.Header()
	h["Content-Type"] = media
	if len(body) > shortAnswer || status >= http.StatusBadRequest || r.Method == http.MethodHead {
		x.set("Content-Length", strconv.Itoa(len(body)))
	}
	h["X-Content-Type-Options"] = noSniff
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h[HeaderStaleness] = x.s.staleness()
		if _, ok := h["Cache-Control"]; !ok { // others are not cached anyway
			h["Cache-Control"] = noStore
		}
	}
	x.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = x.Write(body) // the client has gone if this fails
	}
}

// shortAnswer is up to how many bytes of an answer net/http tells the length by itself,
// at less cost than a header. It cannot for answers to HEAD, and for refusals, whose
// answer may be sent before the body of the request has been taken.
const shortAnswer = 2 << 10

var noSniff = []string{"nosniff"}

// answerJSON writes an answer that has no document in it.
func (x *exchange) answerJSON(r *http.Request, status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	x.answer(r, status, jsonMedia, append(b, '\n'))
	return nil
}

// A knownStaleness is a number of milliseconds as a header's value.
type knownStaleness struct {
	ms     int64
	header []string
}

// staleness returns the region's staleness as a header's value, which all answers of
// a millisecond share.
func (s *Server) staleness() []string {
	ms := max(s.region.Staleness(), 0).Milliseconds()
	known := s.lastStaleness.Load()
	if known == nil || known.ms != ms {
		known = &knownStaleness{ms, []string{strconv.FormatInt(ms, 10)}}
		s.lastStaleness.Store(known)
	}
	return known.header
}

// empty writes an answer without a body.
func (x *exchange) empty(r *http.Request, status int) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		x.Header()[HeaderStaleness] = x.s.staleness()
	}
	x.WriteHeader(status)
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, nil) }

// serve admits a request, routes it, and logs how it went. One that another region
// forwards came by way of via.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, via []string) {
	start := time.Now()
	x := exchanges.Get().(*exchange)
	*x = exchange{ResponseWriter: w, s: s, match: x.match, cookie: cookieOf(r), via: via}
	x.holdBody(r)
	defer func() { s.finish(x, r, start, recover()) }()
	if isProbe(r) {
		s.route(x, r)
		return
	}
	if s.tracer != nil {
		ctx, span := s.startSpan(r)
		r = r.WithContext(ctx)
		defer func() { endSpan(span, x, r.Method) }()
	}
	if s.requests.Add(1) > int64(s.cfg.MaxRequests) {
		s.requests.Add(-1)
		x.fail(r, problemf(busy, "%d requests are being served already", s.cfg.MaxRequests))
		return
	}
	defer s.requests.Add(-1)
	if err := s.crossOrigin.Check(r); err != nil && x.via == nil {
		x.fail(r, problemf(crossOrigin, "%v", err))
		return
	}
	s.route(x, r)
}

// isProbe tells requests that are answered however busy the region is.
func isProbe(r *http.Request) bool {
	return r.URL.Path == "/livez" || r.URL.Path == "/readyz" || r.URL.Path == MetricsPath
}

// finish turns a panic into an answer and ends the exchange.
func (s *Server) finish(x *exchange, r *http.Request, start time.Time, reason any) {
	if reason != nil {
		if err, ok := reason.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(http.ErrAbortHandler) // how a handler asks for the connection to be ended
		}
		s.log.Error("a request panicked", "method", r.Method, "path", r.URL.EscapedPath(),
			"panic", reason, "stack", string(debug.Stack()))
		if x.status != 0 {
			panic(http.ErrAbortHandler) // part of the answer is out: end the connection
		}
		clear(x.Header())
		x.fail(r, problemf(internal, "panic"))
	}
	took := time.Since(start)
	s.metrics.observe(x, r, took)
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("method", r.Method),
			slog.String("path", r.URL.EscapedPath()), slog.Int("status", x.status),
			slog.Duration("took", took), slog.String("from", r.RemoteAddr))
	}
	x.releaseBody()
	*x = exchange{match: x.match}
	exchanges.Put(x)
}
