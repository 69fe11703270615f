package api

import (
	"context"
	"net/http"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
)

// cursorStart is the cursor before all changes.
const cursorStart = "0"

// getChanges answers with the changes behind a cursor, which is a token: as a page,
// or as a feed that goes on as they happen.
func (s *Server) getChanges(x *exchange, r *http.Request) error {
	collection := x.param(r, "collection")
	q := parseQuery(r, "cursor", "limit", "types", "feed")
	limit := q.count("limit", DefaultListLimit, MaxListLimit)
	opts := value.Options{Types: q.flag("types")}
	cursor, asFeed := q.text("cursor"), q.flag("feed")
	if q.err != nil {
		return q.err
	}
	lines := accepts(r, MediaNDJSON)
	asFeed = asFeed || lines || accepts(r, MediaEvents)
	if collection != "" {
		err := x.held(collection)
		if asFeed {
			err = x.streamedHere(collection)
		}
		if err := x.askHolder(r, err); err != nil {
			return err
		}
		if _, err := s.region.Collection(collection); err != nil {
			return err
		}
	}
	if id := r.Header.Get(lastEventID); id != "" {
		cursor = id
	}
	var after crdt.Vector
	switch cursor {
	case "":
		after = s.region.Have()
	case cursorStart:
	default:
		v, err := decodeToken(cursor)
		if err != nil {
			return problemf(malformedCursor, "a cursor of changes is a token, such as a list gives in %s, or %q for the beginning", HeaderToken, cursorStart)
		}
		after = v
	}
	if err := x.await(r); err != nil {
		return err
	}
	if !asFeed {
		return s.pageOfChanges(x, r, after, collection, limit, opts)
	}
	leave, err := s.enterFeed()
	if err != nil {
		return err
	}
	defer leave()
	// What is gone is better said before the feed begins.
	if err := s.checkCursor(after, collection); err != nil {
		return err
	}
	f := &feed{x: x, lines: lines}
	key := feedKey{cursor: encodeToken(after), collection: collection, types: opts.Types, lines: lines}
	return s.serveFeed(f, r, key.cursor, func(ctx context.Context) (string, error) {
		page, err := s.nextPage(ctx, key, after)
		if page != nil {
			f.buf = append(f.buf, page.body...)
			after, key.cursor = page.after, page.id
		}
		return key.cursor, err
	})
}

// checkCursor says whether the log reaches back to a cursor. It waits for nothing.
func (s *Server) checkCursor(after crdt.Vector, collection string) error {
	if after.Covers(s.region.Have()) {
		return nil
	}
	_, err := s.region.Changes(s.closing, after, collection, func(*region.Change) bool { return false })
	return err
}

// pageOfChanges answers at once, or, if there is nothing yet and the client asks for
// it by "Prefer: wait=N", when there is something.
func (s *Server) pageOfChanges(x *exchange, r *http.Request, after crdt.Vector, collection string, limit int, opts value.Options) error {
	buf := newBuffer()
	defer buf.release()
	buf.b = append(buf.b, `{"changes":[`...)
	ctx, stop, err := x.longPoll(r)
	if err != nil {
		return err
	}
	defer stop()
	n := 0
	for {
		read := ctx
		behind := !after.Covers(s.region.Have())
		if behind {
			read = r.Context() // there is something to look at, and no need to wait
		}
		after, err = s.region.Changes(read, after, collection, func(c *region.Change) bool {
			if n > 0 {
				buf.b = append(buf.b, ',')
			}
			buf.b = appendChange(buf.b, c, opts)
			n++
			return n < limit && len(buf.b) < MaxListBytes
		})
		if err != nil && (behind || ctx.Err() == nil) {
			return err
		}
		// Where all that was looked at is of other collections, the client comes again
		// with the next cursor rather than wait for a long search.
		if n > 0 || err != nil || !after.Covers(s.region.Have()) {
			break
		}
	}
	buf.b = append(buf.b, `],"cursor":`...)
	buf.b = appendString(buf.b, encodeToken(after))
	buf.b = append(buf.b, `,"more":`...)
	buf.b = appendBool(buf.b, !after.Covers(s.region.Have()))
	buf.b = append(buf.b, "}\n"...)
	x.answer(r, http.StatusOK, jsonMedia, buf.b)
	return nil
}

// longPoll returns a context that ends when the client does not want to wait any more:
// at once, unless it said how long it would.
func (x *exchange) longPoll(r *http.Request) (context.Context, func(), error) {
	for name := range preferences(r.Header) {
		if name != "wait" {
			continue
		}
		leave, err := x.queue()
		if err != nil {
			return nil, nil, err
		}
		ctx, stop := x.waiting(r)
		return ctx, func() { stop(); leave() }, nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	return ctx, cancel, nil
}

// appendChange appends a change as feeds show it.
func appendChange(b []byte, c *region.Change, opts value.Options) []byte {
	b = append(b, `{"cursor":`...)
	b = appendString(b, encodeToken(c.Cursor))
	b = append(b, ',')
	b = appendDotAndStamp(b, c.Dot, c.Stamp)
	b = append(b, `,"time":"`...)
	b = c.Stamp.Time().AppendFormat(b, timeFormat)
	b = append(b, `","region":`...)
	b = appendString(b, c.Region)
	b = append(b, `,"docs":[`...)
	for i := range c.Documents {
		d := &c.Documents[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"collection":`...)
		b = appendString(b, d.Collection.Name)
		b = append(b, ',')
		if d.View.Exists {
			b = append(b, appendDocument(nil, d, opts)[1:]...)
			continue
		}
		b = append(b, `"id":`...)
		b = appendString(b, d.ID)
		b = append(b, `,"deleted":true}`...)
	}
	return append(b, "]}"...)
}
