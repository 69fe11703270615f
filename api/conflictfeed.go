package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/region"
)

// MediaEvents is the media type of a feed: server-sent events.
const MediaEvents = "text/event-stream"

// Bounds of a feed. What a client has not been sent yet waits in the log, not in
// memory.
const (
	// feedHeartbeat is how often something is sent at the least.
	feedHeartbeat = 15 * time.Second
	// feedWrite is how long a client may take to take an event in.
	feedWrite = 10 * time.Second
	// feedChunk is how many records are read at a time.
	feedChunk = 100
	// feedRetry is after how many milliseconds a client is told to come back.
	feedRetry = 2000
)

var (
	eventsMedia = []string{MediaEvents}
	lastEventID = "Last-Event-Id"
)

// A feed is a stream of events to one client.
type feed struct {
	x    *exchange
	conn *http.ResponseController
	buf  []byte
}

// send writes what is in the buffer, and gives the client feedWrite to take it.
func (f *feed) send() error {
	// A writer without a connection, as in tests, has no deadlines.
	if err := f.conn.SetWriteDeadline(time.Now().Add(feedWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := f.x.Write(f.buf)
	f.buf = f.buf[:0]
	if err != nil {
		return err
	}
	return f.conn.Flush()
}

func (f *feed) event(name string, id uint64, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	f.buf = append(f.buf, "event: "...)
	f.buf = append(f.buf, name...)
	f.id(id)
	f.buf = append(f.buf, "\ndata: "...)
	f.buf = append(f.buf, b...)
	f.buf = append(f.buf, "\n\n"...)
	return nil
}

func (f *feed) id(id uint64) {
	f.buf = append(f.buf, "\nid: "...)
	f.buf = strconv.AppendUint(f.buf, id, 10)
}

// heartbeat keeps the connection alive and moves the id on past what the filter
// has left out.
func (f *feed) heartbeat(id uint64) {
	f.buf = append(f.buf, ": heartbeat"...)
	f.id(id)
	f.buf = append(f.buf, "\n\n"...)
}

// feedConflicts answers with the changes of the conflict log as they happen.
func (s *Server) feedConflicts(x *exchange, r *http.Request, q region.ConflictQuery, after string) error {
	if !q.Since.IsZero() || q.Before > 0 {
		return problemf(malformedRequest, "a feed goes on from Last-Event-ID, or from \"after\"; \"since\" and \"cursor\" are of pages")
	}
	if s.feeds.Add(1) > int64(s.cfg.MaxFeeds) {
		s.feeds.Add(-1)
		return problemf(busy, "%d feeds are being served already", s.cfg.MaxFeeds)
	}
	defer s.feeds.Add(-1)
	match, err := s.conflictFilter(r.Context(), q)
	if err != nil {
		return err
	}
	if id := r.Header.Get(lastEventID); id != "" {
		after = id
	}
	from := s.region.ConflictStatus().Changes
	if after != "" {
		if from, err = strconv.ParseUint(after, 10, 64); err != nil {
			return problemf(malformedRequest, "Last-Event-ID, or \"after\", is the id of an event of this feed")
		}
		// What is gone is better said before the feed begins.
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		if _, _, err := s.region.ConflictChanges(ctx, from, 1); errors.Is(err, region.ErrFeedGone) {
			return err
		}
	}
	h := x.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = eventsMedia, noStore, noSniff
	if r.Method == http.MethodHead {
		x.empty(r, http.StatusOK)
		return nil
	}
	f := &feed{x: x, conn: http.NewResponseController(x)}
	if err := f.conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	x.feed = true
	x.WriteHeader(http.StatusOK)
	f.buf = append(f.buf, "retry: "...)
	f.buf = strconv.AppendInt(f.buf, feedRetry, 10)
	f.buf = append(f.buf, '\n')
	f.heartbeat(from)
	if err := f.send(); err != nil {
		s.dropped(r, err)
		return nil
	}
	s.follow(r, f, from, match)
	return nil
}

// conflictFilter checks what a feed is narrowed to as a page would.
func (s *Server) conflictFilter(ctx context.Context, q region.ConflictQuery) (func(*journal.Record) bool, error) {
	probe := q
	probe.Limit = 1
	if _, err := s.region.Conflicts(ctx, probe); err != nil {
		return nil, err
	}
	return func(c *journal.Record) bool {
		if q.Collection != "" && q.Collection != c.Name && q.Collection != c.Collection.String() || q.State != "" && q.State != c.State {
			return false
		}
		if q.Region == "" {
			return true
		}
		for _, name := range c.Regions() {
			if name == q.Region {
				return true
			}
		}
		return false
	}, nil
}

// follow sends changes until the client goes, or has to.
func (s *Server) follow(r *http.Request, f *feed, from uint64, match func(*journal.Record) bool) {
	for {
		ctx, cancel := context.WithTimeout(r.Context(), feedHeartbeat)
		stop := context.AfterFunc(s.closing, cancel)
		records, next, err := s.region.ConflictChanges(ctx, from, feedChunk)
		timedOut := ctx.Err() != nil
		stop()
		cancel()
		switch {
		case r.Context().Err() != nil:
			return
		case s.closing.Err() != nil:
			s.end(r, f, from, problemf(stopped, "the server is shutting down"))
			return
		case err != nil && !timedOut:
			s.end(r, f, from, err)
			return
		}
		for _, c := range records {
			if match(c) {
				if err := f.event("conflict", c.Rev, summaryOf(c)); err != nil {
					s.end(r, f, from, err)
					return
				}
			}
		}
		if from = next; len(f.buf) == 0 {
			f.heartbeat(from)
		}
		if err := f.send(); err != nil {
			s.dropped(r, err)
			return
		}
	}
}

// end tells the client why the feed ends.
func (s *Server) end(r *http.Request, f *feed, id uint64, reason error) {
	_, p := problemOf(reason)
	p.Region = s.region.Name()
	if err := f.event("end", id, p); err == nil {
		err = f.send()
		if err != nil {
			s.dropped(r, err)
		}
	}
}

func (s *Server) dropped(r *http.Request, err error) {
	s.log.Info("a client of a feed was dropped: it does not take in what it is sent", "from", r.RemoteAddr, "within", feedWrite, "error", err)
}
