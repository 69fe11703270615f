package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What an answer that is an error can be tested for with errors.Is. A *[ProblemError]
// matches by its status or, where several share one, by its type.
var (
	// ErrMalformed: the request makes no sense to the region (400, 415).
	ErrMalformed = errors.New("malformed request")
	// ErrNotFound: there is no such document or collection (404).
	ErrNotFound = errors.New("not found")
	// ErrUnknownCollection: there is no such collection. It is ErrNotFound too.
	ErrUnknownCollection = errors.New("unknown collection")
	// ErrConflict: the document is not in a state that the write fits (409).
	ErrConflict = errors.New("conflict")
	// ErrGone: what the request refers to is not kept any more (410).
	ErrGone = errors.New("gone")
	// ErrPrecondition: IfMatch or IfNoneMatch does not hold (412).
	ErrPrecondition = errors.New("precondition failed")
	// ErrTooLarge: the request is beyond a limit (413).
	ErrTooLarge = errors.New("too large")
	// ErrRefused: the value cannot be kept (422).
	ErrRefused = errors.New("refused")
	// ErrUnavailable: the region does not serve this now (429, 503, 507).
	ErrUnavailable = errors.New("unavailable")
)

var byStatus = map[int]error{
	http.StatusBadRequest:            ErrMalformed,
	http.StatusUnsupportedMediaType:  ErrMalformed,
	http.StatusNotFound:              ErrNotFound,
	http.StatusConflict:              ErrConflict,
	http.StatusGone:                  ErrGone,
	http.StatusPreconditionFailed:    ErrPrecondition,
	http.StatusRequestEntityTooLarge: ErrTooLarge,
	http.StatusUnprocessableEntity:   ErrRefused,
	http.StatusTooManyRequests:       ErrUnavailable,
	http.StatusServiceUnavailable:    ErrUnavailable,
	http.StatusInsufficientStorage:   ErrUnavailable,
}

// A ProblemError is an answer that is an error (RFC 9457).
type ProblemError struct {
	// Type is stable: a path whose last segment names the problem.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Region is the region that answered.
	Region string `json:"region,omitempty"`
	// Retryable says whether the same request can succeed later, or elsewhere.
	Retryable bool `json:"retryable"`
	// Pointer is a JSON pointer into the request's body.
	Pointer string `json:"pointer,omitempty"`
	// RetryAfter is how long the region asks to wait before trying again.
	RetryAfter time.Duration `json:"-"`
}

// Name is the last segment of the type, such as "precondition-failed".
func (p *ProblemError) Name() string { return p.Type[strings.LastIndexByte(p.Type, '/')+1:] }

// Error implements error.
func (p *ProblemError) Error() string {
	var b strings.Builder
	if p.Region != "" {
		b.WriteString(p.Region + ": ")
	}
	b.WriteString(p.Title)
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	if p.Pointer != "" {
		fmt.Fprintf(&b, " (at %q)", p.Pointer)
	}
	fmt.Fprintf(&b, " [%d %s]", p.Status, p.Name())
	return b.String()
}

// Is makes errors.Is match the sentinel errors of this package.
func (p *ProblemError) Is(target error) bool {
	switch target {
	case ErrUnknownCollection:
		return p.Name() == "unknown-collection"
	case errLagging:
		return p.Name() == "behind" || p.Name() == "no-quorum" || p.Name() == "busy" ||
			p.Name() == "home-unreachable" || p.Name() == "holders-unreachable"
	}
	return byStatus[p.Status] == target
}

// An UnreachableError says that no answer came from an address.
type UnreachableError struct {
	Addr string
	Err  error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from %s: %v", e.Addr, e.Err)
}

// Unwrap returns the error of the network.
func (e *UnreachableError) Unwrap() error { return e.Err }

// problem makes an error of an answer that is one.
func problem(res *http.Response, body []byte) error {
	p := &ProblemError{}
	media := res.Header.Get("Content-Type")
	if strings.HasPrefix(media, "application/problem+json") && json.Unmarshal(body, p) == nil && p.Status != 0 {
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s >= 0 {
			p.RetryAfter = time.Duration(min(s, maxRetryAfter)) * time.Second
		}
		return p
	}
	return &ProblemError{
		Type: "about:blank", Title: "Unexpected answer", Status: res.StatusCode,
		Detail: fmt.Sprintf("%s answered %s, as %q; is it a region of Meridian?", res.Request.URL.Redacted(), res.Status, media),
	}
}

const maxRetryAfter = 3600
