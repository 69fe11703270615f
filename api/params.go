package api

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/meridiandb/meridian/region/core"
)

// param returns a segment of the path, decoded once. chi hands out segments
// of URL.RawPath if there is one and of URL.Path, which is decoded, if there is
// none.
func (x *exchange) param(r *http.Request, name string) string {
	s := x.match.URLParam(name)
	if r.URL.RawPath == "" {
		return s
	}
	decoded, err := url.PathUnescape(s)
	if err != nil {
		return s // net/http has parsed the path, so this does not happen
	}
	return decoded
}

// docParams returns the collection and the id of a document's path.
func (x *exchange) docParams(r *http.Request) (collection, id string, err error) {
	collection, id = x.param(r, "collection"), x.param(r, "id")
	return collection, id, core.CheckID(id)
}

func docPath(collection, id string) string {
	return "/v1/collections/" + url.PathEscape(collection) + "/docs/" + url.PathEscape(id)
}

// A query is the query part of a URL, of which every parameter has to be known:
// a misspelt one that were ignored would not do what its writer meant.
type query struct {
	values url.Values
	err    error
}

func parseQuery(r *http.Request, known ...string) (q query) {
	if r.URL.RawQuery == "" {
		return q
	}
	if q.values, q.err = url.ParseQuery(r.URL.RawQuery); q.err != nil {
		q.err = problemf(malformedRequest, "query: %v", q.err)
		return q
	}
	for name, values := range q.values {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			q.err = problemf(malformedRequest, "this route takes no query parameters, and none named %.80q", name)
		case !slices.Contains(known, name):
			q.err = problemf(malformedRequest, "there is no query parameter %.80q here, only %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			q.err = problemf(malformedRequest, "the query parameter %q is given %d times", name, len(values))
		}
	}
	return q
}

func (q *query) text(name string) string {
	s := q.values.Get(name)
	if q.err == nil && !utf8.ValidString(s) {
		q.err = problemf(malformedRequest, "the query parameter %q is not UTF-8", name)
	}
	return s
}

func (q *query) flag(name string) bool {
	switch q.values.Get(name) {
	case "", "0", "false":
		return false
	case "1", "true":
		return true
	}
	if q.err == nil {
		q.err = problemf(malformedRequest, "the query parameter %q must be 1 or 0", name)
	}
	return false
}

// count reads a number between 1 and limit.
func (q *query) count(name string, ifAbsent, limit int) int {
	s := q.values.Get(name)
	if s == "" {
		return ifAbsent
	}
	n, err := strconv.Atoi(s)
	if (err != nil || n < 1 || n > limit) && q.err == nil {
		q.err = problemf(malformedRequest, "the query parameter %q must be 1 to %d", name, limit)
	}
	return n
}

// A cursor names the last id of a page: base64url of a format byte and the id.
const cursorFormat = 1

var cursorEncoding = base64.RawURLEncoding.Strict()

func encodeCursor(id string) string {
	return cursorEncoding.EncodeToString(append([]byte{cursorFormat}, id...))
}

// decodeCursor reads a cursor of a list with the given prefix.
func decodeCursor(s, prefix string) (after string, err error) {
	if s == "" {
		return "", nil
	}
	b, err := cursorEncoding.DecodeString(s)
	if err != nil || len(b) < 2 || b[0] != cursorFormat || core.CheckID(string(b[1:])) != nil {
		return "", problemf(malformedCursor, "send back a cursor as it was received, or none")
	}
	after = string(b[1:])
	if !strings.HasPrefix(after, prefix) {
		return "", problemf(malformedCursor, "the cursor is of a list with another prefix")
	}
	return after, nil
}
