package api

import (
	"net/http"
	"net/url"

	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
)

// listChunk is how many documents of a page are read at a time, so that a page
// of large documents ends at MaxListBytes without all of it being in memory.
const listChunk = 100

// listDocs answers GET of a collection's documents.
func (s *Server) listDocs(x *exchange, r *http.Request) error {
	collection := pathParam(r, "collection")
	q := parseQuery(r, "prefix", "limit", "cursor", "types")
	prefix, limit := q.text("prefix"), q.count("limit", DefaultListLimit, MaxListLimit)
	opts := value.Options{Types: q.flag("types")}
	if q.err != nil {
		return q.err
	}
	after, err := decodeCursor(q.text("cursor"), prefix)
	if err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	buf := newBuffer()
	defer buf.release()
	buf.b = append(buf.b, `{"docs":[`...)
	n, more := 0, true
	for more && n < limit && len(buf.b) < MaxListBytes {
		page, err := s.region.List(r.Context(), collection, region.ListOptions{
			Prefix: prefix, After: after, Limit: min(listChunk, limit-n),
		})
		if err != nil {
			return err
		}
		if n == 0 {
			// Later chunks may show more, never less.
			x.saw(page.Have)
		}
		more = page.More
		for i := range page.Documents {
			if n > 0 && len(buf.b) >= MaxListBytes {
				more = true
				break
			}
			if n > 0 {
				buf.b = append(buf.b, ',')
			}
			buf.b = appendDocument(buf.b, &page.Documents[i], opts)
			after = page.Documents[i].ID
			n++
		}
		if len(page.Documents) == 0 {
			break
		}
	}
	buf.b = append(buf.b, ']')
	if more && n > 0 {
		cursor := encodeCursor(after)
		buf.b = append(buf.b, `,"cursor":`...)
		buf.b = appendString(buf.b, cursor)
		x.Header()["Link"] = []string{nextLink(r.URL, cursor)}
	}
	buf.b = append(buf.b, "}\n"...)
	x.answer(r, http.StatusOK, jsonMedia, buf.b)
	return nil
}

// nextLink is the header Link (RFC 8288) to the next page.
func nextLink(u *url.URL, cursor string) string {
	q := u.Query()
	q.Set("cursor", cursor)
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
