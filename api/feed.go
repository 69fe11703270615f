package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Media types of feeds: server-sent events, and one JSON object a line.
const (
	MediaEvents = "text/event-stream"
	MediaNDJSON = "application/x-ndjson"
)

// Bounds of a feed. What a client has not been sent yet waits in the log, not in
// memory.
const (
	// feedHeartbeat is how often something is sent at the least.
	feedHeartbeat = 15 * time.Second
	// feedWrite is how long a client may take to take an event in.
	feedWrite = 10 * time.Second
	// feedChunk is how many records are read at a time, and feedBytes after how
	// many bytes of them reading stops.
	feedChunk = 100
	feedBytes = 256 << 10
	// feedRetry is after how many milliseconds a client is told to come back.
	feedRetry = 2000
)

var (
	eventsMedia = []string{MediaEvents}
	linesMedia  = []string{MediaNDJSON}
	lastEventID = "Last-Event-Id"
)

// A feed is a stream of events to one client. What it goes on from after an event
// is the event's id.
type feed struct {
	x     *exchange
	conn  *http.ResponseController
	lines bool // NDJSON, not server-sent events
	buf   []byte
}

// enterFeed takes one of the places for feeds.
func (s *Server) enterFeed() (leave func(), err error) {
	if s.feeds.Add(1) > int64(s.cfg.MaxFeeds) {
		s.feeds.Add(-1)
		return nil, problemf(busy, "%d feeds are being served already", s.cfg.MaxFeeds)
	}
	return func() { s.feeds.Add(-1) }, nil
}

// serveFeed answers with what next appends to the feed, until the client goes or has
// to. next waits for something, or the end of its context, and returns the id to go
// on from.
func (s *Server) serveFeed(f *feed, r *http.Request, id string, next func(ctx context.Context) (id string, err error)) error {
	h := f.x.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = eventsMedia, noStore, noSniff
	if f.lines {
		h["Content-Type"] = linesMedia
	}
	if r.Method == http.MethodHead {
		f.x.empty(r, http.StatusOK)
		return nil
	}
	f.conn = http.NewResponseController(f.x)
	if err := f.conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	f.x.feed = true
	f.x.WriteHeader(http.StatusOK)
	if !f.lines {
		f.buf = append(f.buf, "retry: "...)
		f.buf = strconv.AppendInt(f.buf, feedRetry, 10)
		f.buf = append(f.buf, '\n')
	}
	f.heartbeat(id)
	if err := f.send(); err != nil {
		s.dropped(r, err)
		return nil
	}
	s.follow(r, f, id, next)
	return nil
}

func (s *Server) follow(r *http.Request, f *feed, id string, next func(ctx context.Context) (string, error)) {
	for {
		ctx, cancel := context.WithTimeout(r.Context(), feedHeartbeat)
		stop := context.AfterFunc(s.closing, cancel)
		upTo, err := next(ctx)
		timedOut := ctx.Err() != nil
		stop()
		cancel()
		switch {
		case r.Context().Err() != nil:
			return
		case s.closing.Err() != nil:
			s.end(r, f, id, problemf(stopped, "the server is shutting down"))
			return
		case err != nil && !timedOut:
			s.end(r, f, id, err)
			return
		}
		if id = upTo; len(f.buf) == 0 {
			f.heartbeat(id)
		}
		if err := f.send(); err != nil {
			s.dropped(r, err)
			return
		}
	}
}

// send writes what is in the buffer, and gives the client feedWrite to take it.
func (f *feed) send() error {
	// A writer without a connection, as in tests, has no deadlines.
	if err := f.conn.SetWriteDeadline(time.Now().Add(feedWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := f.x.Write(f.buf)
	if f.buf = f.buf[:0]; cap(f.buf) > 2*feedBytes {
		f.buf = nil
	}
	if err != nil {
		return err
	}
	return f.conn.Flush()
}

// event appends an event whose data is JSON.
func (f *feed) event(name, id string, data []byte) {
	if f.lines {
		f.buf = append(append(f.buf, data...), '\n')
		return
	}
	f.buf = append(f.buf, "event: "...)
	f.buf = append(f.buf, name...)
	f.buf = append(f.buf, "\nid: "...)
	f.buf = append(f.buf, id...)
	f.buf = append(f.buf, "\ndata: "...)
	f.buf = append(f.buf, data...)
	f.buf = append(f.buf, "\n\n"...)
}

// heartbeat keeps the connection alive and moves the id on past what the filter
// has left out.
func (f *feed) heartbeat(id string) {
	if f.lines {
		f.buf = append(f.buf, `{"cursor":`...)
		f.buf = append(appendString(f.buf, id), "}\n"...)
		return
	}
	f.buf = append(f.buf, ": heartbeat\nid: "...)
	f.buf = append(f.buf, id...)
	f.buf = append(f.buf, "\n\n"...)
}

// end tells the client why the feed ends.
func (s *Server) end(r *http.Request, f *feed, id string, reason error) {
	_, p := problemOf(reason)
	p.Region = s.region.Name()
	var data any = p
	if f.lines {
		data = map[string]any{"end": p}
	}
	b, err := json.Marshal(data)
	if err != nil {
		return // a problem is always JSON
	}
	f.event("end", id, b)
	if err := f.send(); err != nil {
		s.dropped(r, err)
	}
}

func (s *Server) dropped(r *http.Request, err error) {
	s.log.Info("a client of a feed was dropped: it does not take in what it is sent", "from", r.RemoteAddr, "within", feedWrite, "error", err)
}
