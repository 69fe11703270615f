package client

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Document is one document as a region shows it.
type Document struct {
	ID    string          `json:"id"`
	ETag  string          `json:"etag"`
	Value json.RawMessage `json:"value"`
}

// A Read is a document with what its answer said besides. Staleness is the age
// of what the region last heard of the peer that has been silent longest.
type Read struct {
	Document
	Region    string
	Staleness time.Duration
	// Policy and Conflicts tell, if there are any, how many places of the
	// document were written concurrently, and what settles which is shown.
	Policy    string
	Conflicts int
	// Regions are those that the answer is as new as, if ReadOptions.Read asked.
	Regions []string
}

// ReadOptions say how to read.
type ReadOptions struct {
	// Types shows counters, sets and texts as such.
	Types bool
	// Read is what other regions the answer is to be as new as: "quorum", "all", a
	// number, names of regions with commas between them, or "home".
	Read string
	// Fallback lets another region answer that has what the token names, if the one
	// that is asked has not: at once, or when Wait is over.
	Fallback bool
	// Wait is for how long the region may wait for them, and for the token. It is
	// rounded up to seconds; 0 leaves it to the region.
	Wait time.Duration
}

func (o ReadOptions) query() url.Values {
	q := url.Values{}
	if o.Types {
		q.Set("types", "1")
	}
	if o.Read != "" {
		q.Set("read", o.Read)
	}
	if o.Fallback {
		q.Set("fallback", "forward")
	}
	return q
}

// preferWait asks for a wait.
func preferWait(h http.Header, d time.Duration) http.Header {
	if d > 0 {
		h["Prefer"] = []string{"wait=" + strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)}
	}
	return h
}

func names(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// A Receipt answers a write: it is durable in the region that took it.
type Receipt struct {
	ID    string `json:"id"`
	ETag  string `json:"etag,omitempty"`
	Dot   string `json:"dot,omitempty"`
	Stamp string `json:"stamp,omitempty"`
	// Created says that there was no document before.
	Created bool   `json:"created"`
	Region  string `json:"region"`
	// Acked are the regions that hold the write durably, if WriteOptions.Acks asked.
	Acked []string `json:"acked,omitempty"`
	// Pending says that time ran out before all that was asked for did: the
	// write stands in those that are named, and goes on to the others.
	Pending bool `json:"pending,omitempty"`
	// Repeated says that the write was made before, under the same idempotency key.
	Repeated bool `json:"repeated,omitempty"`
}

// WriteOptions are conditions of a write. They hold in the region that takes it.
type WriteOptions struct {
	// IfMatch and IfNoneMatch are ETags, with their quotes, or *.
	IfMatch, IfNoneMatch string
	// Base is the ETag of the older version that the edit was made on.
	Base string
	// Acks is which other regions are to hold the write before it is answered: a
	// number, this region included, "majority", "all", or names of regions with
	// commas between them.
	Acks string
	// Wait is for how long the region may wait for them, and for the token. It is
	// rounded up to seconds; 0 leaves it to the region.
	Wait time.Duration
	// Key is an idempotency key: a write that was made under it is not made again
	// for 24 hours, but answered as it was. If the answer does not come, it is
	// asked for again, for RepeatFor.
	Key string
	// Repeat makes a key for this write, so that it is repeated if its answer does
	// not come. A region remembers so many keys for a day: what can be written
	// twice without harm need not take one.
	Repeat bool
}

func (o WriteOptions) query() url.Values {
	if o.Acks == "" {
		return nil
	}
	return url.Values{"acks": {o.Acks}}
}

func (o WriteOptions) header(media string) http.Header {
	h := http.Header{}
	for name, value := range map[string]string{
		"If-Match": o.IfMatch, "If-None-Match": o.IfNoneMatch, HeaderBase: o.Base, "Content-Type": media, HeaderKey: o.key(),
	} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	return preferWait(h, o.Wait)
}

// A PatchKind is a media type of patches.
type PatchKind string

// The kinds of patches.
const (
	MergePatch PatchKind = "application/merge-patch+json"
	JSONPatch  PatchKind = "application/json-patch+json"
	Operations PatchKind = "application/vnd.meridian.ops+json"
)

const mediaJSON = "application/json"

func docsPath(collection string) string {
	return "/v1/collections/" + url.PathEscape(collection) + "/docs"
}

func docPath(collection, id string) string {
	escaped := url.PathEscape(id)
	// A segment of dots would be taken for a step up the path.
	if id == "." || id == ".." {
		escaped = strings.ReplaceAll(id, ".", "%2E")
	}
	return docsPath(collection) + "/" + escaped
}

func typesQuery(types bool) url.Values {
	if !types {
		return nil
	}
	return url.Values{"types": {"1"}}
}

// Get reads a document. With types, counters, sets and texts are shown as such.
func (c *Client) Get(ctx context.Context, collection, id string, types bool) (*Read, error) {
	return c.GetWith(ctx, collection, id, ReadOptions{Types: types})
}

// GetWith reads a document with options.
func (c *Client) GetWith(ctx context.Context, collection, id string, o ReadOptions) (*Read, error) {
	a, err := c.send(ctx, request{
		method: http.MethodGet, path: docPath(collection, id), query: o.query(), header: preferWait(http.Header{}, o.Wait),
	})
	if err != nil {
		return nil, err
	}
	r := &Read{
		Document: Document{ID: id, ETag: a.header.Get("ETag"), Value: a.body},
		Region:   a.header.Get(HeaderRegion),
		Policy:   a.header.Get(HeaderConflict),
		Regions:  names(a.header.Get(HeaderRead)),
	}
	r.Conflicts, _ = strconv.Atoi(a.header.Get(HeaderConflictCount))
	ms, _ := strconv.ParseInt(a.header.Get(HeaderStaleness), 10, 64)
	r.Staleness = time.Duration(ms) * time.Millisecond
	return r, nil
}

// Put writes a whole document.
func (c *Client) Put(ctx context.Context, collection, id string, doc []byte, o WriteOptions) (*Receipt, error) {
	return c.write(ctx, request{method: http.MethodPut, path: docPath(collection, id), query: o.query(), ownKey: o.Key == "", header: o.header(mediaJSON), body: doc})
}

// Create writes a document under a new id. Of the options it takes those about
// other regions.
func (c *Client) Create(ctx context.Context, collection string, doc []byte, o WriteOptions) (*Receipt, error) {
	return c.write(ctx, request{method: http.MethodPost, path: docsPath(collection), query: o.query(), ownKey: o.Key == "", header: o.header(mediaJSON), body: doc})
}

// Patch edits a document.
func (c *Client) Patch(ctx context.Context, collection, id string, kind PatchKind, patch []byte, o WriteOptions) (*Receipt, error) {
	return c.write(ctx, request{method: http.MethodPatch, path: docPath(collection, id), query: o.query(), ownKey: o.Key == "", header: o.header(string(kind)), body: patch})
}

func (c *Client) write(ctx context.Context, q request) (*Receipt, error) {
	r := &Receipt{}
	a, err := c.decode(ctx, q, r)
	if err != nil {
		return nil, err
	}
	r.from(a)
	return r, nil
}

// from takes in what the answer's status and headers say.
func (r *Receipt) from(a *answer) {
	r.Region, r.Acked = a.header.Get(HeaderRegion), names(a.header.Get(HeaderAcked))
	r.Repeated = a.header.Get(HeaderRepeated) != ""
	if r.Pending = a.status == http.StatusAccepted; !r.Pending && a.status != http.StatusOK {
		r.Created = a.status == http.StatusCreated
	}
}

// Delete deletes a document.
func (c *Client) Delete(ctx context.Context, collection, id string, o WriteOptions) (*Receipt, error) {
	a, err := c.send(ctx, request{method: http.MethodDelete, path: docPath(collection, id), query: o.query(), ownKey: o.Key == "", header: o.header("")})
	if err != nil {
		return nil, err
	}
	r := &Receipt{ID: id}
	r.from(a)
	return r, nil
}

// ListOptions say which documents to list.
type ListOptions struct {
	Prefix string
	// Limit is the most documents of a page; 0 leaves it to the region.
	Limit  int
	Cursor string
	Types  bool
	// At is the moment to be shown: AtNow asks for a handle, Page.At, by which
	// further pages show the moment of the first. The region keeps it for a minute
	// after it was last used; ErrGone after that, and in other regions.
	At string
}

// AtNow in ListOptions.At asks for a handle of the present moment.
const AtNow = "now"

// A Page is a part of a list. Cursor is "" on the last one.
type Page struct {
	Docs   []Document `json:"docs"`
	Cursor string     `json:"cursor"`
	At     string     `json:"at"`

	from string // the address that answered
}

// List reads a page of a collection, in the order of the ids' bytes.
func (c *Client) List(ctx context.Context, collection string, o ListOptions) (*Page, error) {
	q := url.Values{}
	if o.Types {
		q.Set("types", "1")
	}
	if o.Prefix != "" {
		q.Set("prefix", o.Prefix)
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Cursor != "" {
		q.Set("cursor", o.Cursor)
	}
	if o.At != "" {
		q.Set("at", o.At)
	}
	p := &Page{}
	a, err := c.decode(ctx, request{method: http.MethodGet, path: docsPath(collection), query: q}, p)
	if a != nil {
		p.from = a.base
	}
	return p, err
}

// All reads all pages of a collection from the region that answers the first
// one. With At: AtNow they show one moment. It ends with the first error.
func (c *Client) All(ctx context.Context, collection string, o ListOptions) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		c, o := c, o
		for {
			p, err := c.List(ctx, collection, o)
			if err != nil {
				yield(Document{}, err)
				return
			}
			for _, d := range p.Docs {
				if !yield(d, nil) {
					return
				}
			}
			if p.Cursor == "" {
				return
			}
			o.Cursor, o.At = p.Cursor, p.At
			if c.regions != nil {
				c = &Client{base: p.from, http: c.http, session: c.session}
			}
		}
	}
}

// A BatchPut is one document of a Batch.
type BatchPut struct {
	Collection  string          `json:"collection"`
	ID          string          `json:"id"`
	Put         json.RawMessage `json:"put"`
	IfNoneMatch string          `json:"if_none_match,omitempty"`
}

// Batch writes several documents in one atomic change: all of them, or none.
// Of the options it takes those about other regions.
func (c *Client) Batch(ctx context.Context, docs []BatchPut, o WriteOptions) ([]Receipt, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{"docs": docs}); err != nil {
		return nil, err
	}
	var out struct {
		Docs []Receipt `json:"docs"`
	}
	a, err := c.decode(ctx, request{
		method: http.MethodPost, path: "/v1/batch", query: o.query(), header: o.header(mediaJSON), body: body.Bytes(), ownKey: o.Key == "",
	}, &out)
	if err != nil {
		return nil, err
	}
	for i := range out.Docs {
		out.Docs[i].from(a)
	}
	return out.Docs, nil
}

// A Version is one of the concurrent versions of a document or of a place in it.
type Version struct {
	Dot    string `json:"dot"`
	Stamp  string `json:"stamp"`
	Time   string `json:"time"`
	Region string `json:"region"`
	// Shown says that a plain read shows it, or what it contributed.
	Shown   bool `json:"shown"`
	Deleted bool `json:"deleted,omitempty"`
	// Answer says that it is what a callback answered.
	Answer bool `json:"answer,omitempty"`
	// Value is absent where versions are merged place by place.
	Value json.RawMessage `json:"value,omitempty"`
}

// A Conflict is a place of a document that was written concurrently.
type Conflict struct {
	// Path is a JSON pointer, "" for the whole document.
	Path   string `json:"path"`
	Policy string `json:"policy"`
	// Hash is that of the script that decided, Failed why it could not.
	Hash   string `json:"hash,omitempty"`
	Failed string `json:"failed,omitempty"`
	// Open says that the choice is the client's, Pending that a callback is still
	// to make it.
	Open     bool            `json:"open"`
	Pending  bool            `json:"pending,omitempty"`
	Why      string          `json:"why"`
	Shown    json.RawMessage `json:"shown,omitempty"`
	Versions []Version       `json:"versions"`
}

// Versions are all concurrent versions of a document.
type Versions struct {
	ID        string          `json:"id"`
	ETag      string          `json:"etag,omitempty"`
	Exists    bool            `json:"exists"`
	Shown     json.RawMessage `json:"shown,omitempty"`
	Versions  []Version       `json:"versions"`
	Conflicts []Conflict      `json:"conflicts"`
}

// Versions reads all that is known of a document.
func (c *Client) Versions(ctx context.Context, collection, id string, types bool) (*Versions, error) {
	return c.VersionsWith(ctx, collection, id, ReadOptions{Types: types})
}

// VersionsWith reads all that is known of a document, with options.
func (c *Client) VersionsWith(ctx context.Context, collection, id string, o ReadOptions) (*Versions, error) {
	v := &Versions{}
	_, err := c.decode(ctx, request{
		method: http.MethodGet, path: docPath(collection, id) + "/versions", query: o.query(), header: preferWait(http.Header{}, o.Wait),
	}, v)
	return v, err
}
