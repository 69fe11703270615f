package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// feedSilence is how long a feed may be silent: some of its heartbeats.
	feedSilence = 45 * time.Second
	// maxEventBytes bounds one event.
	maxEventBytes = 16 << 20
	// WatchRetry is how long a feed that was lost waits before it is asked for again.
	WatchRetry = 2 * time.Second
)

// errSilence ends a feed of which nothing was heard, not even a heartbeat.
var errSilence = errors.New("the feed has fallen silent")

// follow reads a feed of one region and calls f with its events, until f fails or
// the feed ends. id is that of the last event, or heartbeat.
func (c *Client) follow(ctx context.Context, path string, q url.Values, after string, f func(name string, data []byte) error) (id string, err error) {
	q.Set("feed", "1")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+q.Encode(), http.NoBody)
	if err != nil {
		return after, err
	}
	silence := time.AfterFunc(feedSilence, func() { cancel(errSilence) })
	defer silence.Stop()
	// The timeout of the client is for answers that end.
	res, err := (&http.Client{Transport: c.http.Transport}).Do(req)
	if err != nil {
		return after, c.lost(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(res.Body, maxEventBytes))
		if err != nil {
			return after, c.lost(ctx, err)
		}
		return after, problem(res, body)
	}
	s := &eventReader{lines: bufio.NewScanner(res.Body), last: after, heard: func() { silence.Reset(feedSilence) }}
	s.lines.Buffer(make([]byte, 0, 4096), maxEventBytes)
	for {
		before := s.last
		name, data, err := s.next()
		if err != nil {
			return s.last, c.lost(ctx, err)
		}
		if name == "end" {
			p := &ProblemError{}
			if err := json.Unmarshal(data, p); err != nil {
				return s.last, fmt.Errorf("the feed of %s ended, and says why in a way that makes no sense: %w", c.base, err)
			}
			return s.last, p
		}
		if err := f(name, data); err != nil {
			if !errors.Is(err, ErrStop) {
				return before, err // it was not taken in
			}
			return s.last, err
		}
	}
}

// lost is unreachable for a request that may have been given up for its silence.
func (c *Client) lost(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilence) {
		return &UnreachableError{Addr: c.base, Err: errSilence}
	}
	return c.unreachable(ctx, err)
}

// An eventReader reads server-sent events.
type eventReader struct {
	lines *bufio.Scanner
	last  string
	heard func()
}

// next returns the next event that has data.
func (r *eventReader) next() (name string, data []byte, err error) {
	for r.lines.Scan() {
		r.heard()
		field, v, _ := strings.Cut(r.lines.Text(), ":")
		v = strings.TrimPrefix(v, " ")
		switch field {
		case "event":
			name = v
		case "data":
			data = append(data, v...)
		case "id":
			r.last = v
		case "":
			if r.lines.Text() == "" && data != nil {
				return name, data, nil
			}
			if r.lines.Text() == "" {
				name = ""
			}
		}
	}
	if err := r.lines.Err(); err != nil {
		return "", nil, err
	}
	return "", nil, io.ErrUnexpectedEOF
}
