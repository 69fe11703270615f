package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
)

// A Dump is all that can be read in a region.
type Dump struct {
	// Docs counts the documents.
	Docs int
	// pages are answers by what was asked.
	pages map[string][]byte
}

const (
	// pageSize is how many documents one page of a dump asks for.
	pageSize = "1000"
	// withVersions is of how many documents of each collection the versions are
	// read too. The entity tags of the others tell that they have the same heads.
	withVersions = 300
)

// Dump reads all collections, all documents with their entity tags and types,
// and versions.
func (n *Node) Dump(tb testing.TB) *Dump {
	tb.Helper()
	d := &Dump{pages: map[string][]byte{}}
	body := d.read(tb, n, "/v1/collections")
	var list struct {
		Collections []struct {
			Name        string `json:"name"`
			Incarnation string `json:"incarnation"`
			Shadowed    bool   `json:"shadowed"`
		} `json:"collections"`
	}
	Decode(tb, body, &list)
	for _, c := range list.Collections {
		name := c.Name
		if c.Shadowed {
			name = c.Incarnation
		}
		d.collection(tb, n, name)
	}
	return d
}

func (d *Dump) read(tb testing.TB, n *Node, path string) []byte {
	tb.Helper()
	body := n.Must(tb, Request{Path: path}, http.StatusOK).Body
	d.pages[path] = body
	return body
}

func (d *Dump) collection(tb testing.TB, n *Node, name string) {
	tb.Helper()
	base := "/v1/collections/" + url.PathEscape(name) + "/docs?types=1&limit=" + pageSize
	for cursor := ""; ; {
		path := base
		if cursor != "" {
			path += "&cursor=" + url.QueryEscape(cursor)
		}
		var page struct {
			Docs []struct {
				ID string `json:"id"`
			} `json:"docs"`
			Cursor string `json:"cursor"`
		}
		Decode(tb, d.read(tb, n, path), &page)
		if cursor == "" {
			for _, doc := range page.Docs[:min(len(page.Docs), withVersions)] {
				d.read(tb, n, DocPath(name, doc.ID)+"/versions?types=1")
			}
		}
		d.Docs += len(page.Docs)
		if cursor = page.Cursor; cursor == "" {
			return
		}
	}
}

// shownDiff is how much of two different answers is shown.
const shownDiff = 400

// diff says where two dumps differ, "" if they do not.
func (d *Dump) diff(other *Dump) string {
	paths := slices.Sorted(maps.Keys(d.pages))
	for _, path := range paths {
		a, b := d.pages[path], other.pages[path]
		if bytes.Equal(a, b) {
			continue
		}
		i := 0
		for i < min(len(a), len(b)) && a[i] == b[i] {
			i++
		}
		from := max(0, i-shownDiff/2)
		return fmt.Sprintf("GET %s differs at byte %d:\n%s\n%s", path, i,
			a[from:min(len(a), from+shownDiff)], b[min(len(b), from):min(len(b), from+shownDiff)])
	}
	if len(d.pages) != len(other.pages) {
		return fmt.Sprintf("%d answers here, %d there", len(d.pages), len(other.pages))
	}
	return ""
}

// Diff says where two dumps differ, "" if they do not.
func (d *Dump) Diff(other *Dump) string { return d.diff(other) }

// Field reads a member of a JSON object.
func Field[T any](tb testing.TB, doc []byte, name string) (v T) {
	tb.Helper()
	var members map[string]json.RawMessage
	Decode(tb, doc, &members)
	if members[name] == nil {
		tb.Fatalf("no %q in %s", name, doc)
	}
	Decode(tb, members[name], &v)
	return v
}
