package api

import (
	"net/http"
	"net/url"

	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
)

// listDocs answers GET of a collection's documents.
func (s *Server) listDocs(x *exchange, r *http.Request) error {
	collection := x.param(r, "collection")
	q := parseQuery(r, "prefix", "limit", "cursor", "types", paramAt, paramFallback)
	x.askFallback(&q)
	prefix, limit := q.text("prefix"), q.count("limit", DefaultListLimit, MaxListLimit)
	opts := value.Options{Types: q.flag("types")}
	if q.err != nil {
		return q.err
	}
	after, err := decodeCursor(q.text("cursor"), prefix)
	if err != nil {
		return err
	}
	at := q.text(paramAt)
	if q.err != nil {
		return q.err
	}
	if at == "" || at == region.AtNow {
		err = x.await(r)
	} else {
		err = x.noteToken(r)
	}
	if err != nil {
		return err
	}
	buf := newBuffer()
	defer buf.release()
	buf.b = append(buf.b, `{"docs":[`...)
	// One snapshot for all of the page, whose documents are written out one by one:
	// it holds as much as it answers, and no more.
	n := 0
	page, err := s.region.List(r.Context(), collection, region.ListOptions{
		Prefix: prefix, After: after, Limit: limit, At: at,
		Each: func(d *region.Document) bool {
			if n > 0 {
				if len(buf.b) >= MaxListBytes {
					return false
				}
				buf.b = append(buf.b, ',')
			}
			buf.b = appendDocument(buf.b, d, opts)
			after = d.ID
			n++
			return true
		},
	})
	if err != nil {
		return err
	}
	x.saw(page.Have)
	buf.b = append(buf.b, ']')
	if page.More {
		cursor := encodeCursor(after)
		buf.b = append(buf.b, `,"cursor":`...)
		buf.b = appendString(buf.b, cursor)
		next := r.URL.Query()
		next.Set("cursor", cursor)
		if page.At != "" {
			buf.b = append(buf.b, `,"at":`...)
			buf.b = appendString(buf.b, page.At)
			next.Set(paramAt, page.At)
		}
		x.Header()["Link"] = []string{linkTo(r.URL, next)}
	}
	buf.b = append(buf.b, "}\n"...)
	x.answer(r, http.StatusOK, jsonMedia, buf.b)
	return nil
}

// paramAt says which moment a list shows: now, under a handle for further
// pages, or the moment of a handle.
const paramAt = "at"

// nextLink is the header Link (RFC 8288) to the next page.
func nextLink(u *url.URL, cursor string) string {
	q := u.Query()
	q.Set("cursor", cursor)
	return linkTo(u, q)
}

func linkTo(u *url.URL, q url.Values) string {
	return "<" + u.EscapedPath() + "?" + q.Encode() + `>; rel="next"`
}

// appendDocument appends a document as lists show it.
func appendDocument(b []byte, d *region.Document, opts value.Options) []byte {
	rep := plain
	if opts.Types {
		rep = typed
	}
	b = append(b, `{"id":`...)
	b = appendString(b, d.ID)
	b = append(b, `,"etag":`...)
	b = appendString(b, documentETag(d, rep))
	b = append(b, `,"value":`...)
	b = value.Append(b, d.View.Value, opts)
	return append(b, '}')
}
