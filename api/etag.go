package api

import (
	"net/http"
	"strings"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// A representation is how an answer shows a document; it is part of the ETag.
type representation byte

const (
	plain    representation = 'j' // the JSON
	typed    representation = 't' // with ?types=1
	siblings representation = 's' // all versions
	// saved is the Automerge form. Two regions may arrange its bytes otherwise,
	// for the same document with the same history.
	saved representation = 'a'
	// condensed is the Automerge form without the history.
	condensed representation = 'c'
)

// etagOf returns the strong entity tag of a document: the version tag, which
// names its heads; the revision of the collection's settings, since the policy
// decides what is shown; and the representation.
func etagOf(tag, revision string, rep representation) string {
	b := make([]byte, 0, 64)
	b = append(b, '"')
	b = append(b, tag...)
	b = append(b, '.')
	b = append(b, revision...)
	b = append(b, '.', byte(rep), '"')
	return string(b)
}

func documentETag(d *region.Document, rep representation) string {
	return etagOf(d.Tag, d.Collection.Revision, rep)
}

// An etagList is what If-Match or If-None-Match says.
type etagList struct {
	any  bool // *
	tags []etag
}

type etag struct {
	weak   bool
	opaque string // without quotes
}

// version is the part that names the heads.
func (e etag) version() string {
	v, _, _ := strings.Cut(e.opaque, ".")
	return v
}

// parseETags reads a list of entity tags, or *. Nothing at all is the empty list.
func parseETags(s string) (l etagList, err error) {
	rest := strings.Trim(s, " \t")
	if rest == "*" {
		return etagList{any: true}, nil
	}
	for rest != "" {
		if rest[0] == ',' { // empty elements are to be passed over (RFC 9110, 5.6.1)
			rest = strings.TrimLeft(rest[1:], " \t")
			continue
		}
		e := etag{}
		if e.opaque, e.weak, rest, err = cutETag(rest); err != nil {
			return etagList{}, err
		}
		if l.tags = append(l.tags, e); len(l.tags) > MaxETags {
			return etagList{}, problemf(malformedETag, "at most %d entity tags are taken", MaxETags)
		}
		rest = strings.TrimLeft(rest, " \t")
		if rest != "" && rest[0] != ',' {
			return etagList{}, badETag(s)
		}
	}
	if s != "" && len(l.tags) == 0 {
		return etagList{}, badETag(s)
	}
	return l, nil
}

func cutETag(s string) (opaque string, weak bool, rest string, err error) {
	t, weak := strings.CutPrefix(s, "W/")
	if t == "" || t[0] != '"' {
		return "", false, "", badETag(s)
	}
	for i := 1; i < len(t); i++ {
		switch c := t[i]; {
		case c == '"':
			return t[1:i], weak, t[i+1:], nil
		case c < 0x21 || c == 0x7f:
			return "", false, "", badETag(s)
		}
	}
	return "", false, "", badETag(s)
}

const quotedInDetail = 80

func badETag(s string) error {
	if len(s) > quotedInDetail {
		s = s[:quotedInDetail] + "…"
	}
	return problemf(malformedETag, "%q is no entity tag; send it with its double quotes, as in the header ETag", s)
}

// headerList joins the lines of a header that is a list.
func headerList(h http.Header, name string) string {
	switch lines := h[name]; len(lines) {
	case 0:
		return ""
	case 1:
		return lines[0]
	default:
		return strings.Join(lines, ",")
	}
}

// condition makes of If-Match and If-None-Match what the region checks. Only
// the version tags count: whoever edits wants to know whether the document has
// changed, not whether the policy has.
func condition(match, noneMatch string) (c core.Condition, err error) {
	m, err := parseETags(match)
	if err != nil {
		return c, err
	}
	n, err := parseETags(noneMatch)
	if err != nil {
		return c, err
	}
	c.MatchAny, c.Absent = m.any, n.any
	for _, e := range m.tags {
		if e.weak {
			// If-Match compares strongly: a weak tag never matches. This is the
			// tag of no version.
			c.Match = append(c.Match, "W/")
			continue
		}
		c.Match = append(c.Match, e.version())
	}
	for _, e := range n.tags {
		c.NoneMatch = append(c.NoneMatch, e.version())
	}
	return c, nil
}

func headerCondition(h http.Header) (core.Condition, error) {
	return condition(headerList(h, "If-Match"), headerList(h, "If-None-Match"))
}

// parseBase reads the entity tag of an older version.
func parseBase(s string) (tag string, err error) {
	if s == "" {
		return "", nil
	}
	opaque, weak, rest, err := cutETag(strings.Trim(s, " \t"))
	if err != nil {
		return "", err
	}
	tag = etag{opaque: opaque}.version()
	if rest != "" || weak || len(tag) != versionTagLen {
		return "", badETag(s)
	}
	return tag, nil
}

// versionTagLen is the length of what crdt.VersionTag returns.
const versionTagLen = 16

// readPrecondition checks the preconditions of a read. If-None-Match compares
// whole entity tags here, since a cached answer depends on the policy and the
// representation too. It reports whether the client's copy is current.
func readPrecondition(h http.Header, d *region.Document, current string) (notModified bool, err error) {
	if h["If-Match"] == nil && h["If-None-Match"] == nil {
		return false, nil
	}
	m, err := parseETags(headerList(h, "If-Match"))
	if err != nil {
		return false, err
	}
	n, err := parseETags(headerList(h, "If-None-Match"))
	if err != nil {
		return false, err
	}
	if len(m.tags) > 0 || m.any {
		ok := m.any
		for _, e := range m.tags {
			ok = ok || !e.weak && e.version() == d.Tag
		}
		if !ok {
			return false, problemf(precondition, "the document is another version now: %s", current)
		}
	}
	opaque := strings.Trim(current, `"`)
	for _, e := range n.tags {
		notModified = notModified || e.opaque == opaque
	}
	return notModified || n.any, nil
}
