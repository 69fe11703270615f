package api

import (
	"context"
	"errors"
	"sync"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
)

// Most feeds of changes stand at the same cursor, and are to be sent the same next.
// It is read and rendered by the first that asks, and kept for the others.

// maxFeedPages bounds the pages kept for other feeds. A page of more than
// maxFeedPageBytes, which one large document can make, is not kept.
const (
	maxFeedPages     = 16
	maxFeedPageBytes = 2 * feedBytes
)

// A feedKey is what a page depends on besides what the region holds.
type feedKey struct {
	cursor, collection string
	types, lines       bool
}

// A feedPage is what comes next behind a cursor. It is not changed once it is made.
type feedPage struct {
	// have is what the region held before the page was read, or less.
	have crdt.Vector
	made chan struct{} // closed when the rest is there

	body  []byte // events
	after crdt.Vector
	id    string // the token of after
	err   error
}

// feedPages are the pages that were made last.
type feedPages struct {
	mu    sync.Mutex
	pages map[feedKey]*feedPage
	order [maxFeedPages]feedKey // the oldest is at next
	next  int
}

func newFeedPages() *feedPages { return &feedPages{pages: map[feedKey]*feedPage{}} }

// page returns the page of a key that was read from a region that held no less than
// have, so that nobody is shown less than it could have seen. If there is none it
// returns one that the caller has to make.
func (c *feedPages) page(key feedKey, have crdt.Vector) (p *feedPage, isNew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.pages[key]
	if old != nil && old.have.Covers(have) {
		return old, false
	}
	p = &feedPage{have: have, made: make(chan struct{})}
	if old == nil {
		delete(c.pages, c.order[c.next])
		c.order[c.next] = key
		c.next = (c.next + 1) % maxFeedPages
	}
	c.pages[key] = p
	return p, true
}

// finish lets the others have a page, if it is one for them.
func (c *feedPages) finish(key feedKey, p *feedPage) {
	close(p.made)
	if p.err == nil && len(p.body) <= maxFeedPageBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pages[key] == p {
		delete(c.pages, key) // its place in the order is one that is free
	}
}

// errAbandoned is the error of a page whose maker did not come to its end.
var errAbandoned = errors.New("abandoned")

// nextPage waits until the region has something behind a cursor, and returns it.
func (s *Server) nextPage(ctx context.Context, key feedKey, after crdt.Vector) (*feedPage, error) {
	have, err := s.region.Beyond(ctx, after)
	if err != nil {
		return nil, err
	}
	p, isNew := s.feedPages.page(key, have)
	if isNew {
		p.err = errAbandoned
		defer s.feedPages.finish(key, p)
		s.makePage(ctx, key, after, p)
		return p, p.err
	}
	select {
	case <-p.made:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.err == nil {
		return p, nil
	}
	// What kept the other from it, such as that its client went away, need not keep this one.
	own := &feedPage{}
	s.makePage(ctx, key, after, own)
	return own, own.err
}

func (s *Server) makePage(ctx context.Context, key feedKey, after crdt.Vector, p *feedPage) {
	f := &feed{lines: key.lines}
	n := 0
	p.after, p.err = s.region.Changes(ctx, after, key.collection, func(c *region.Change) bool {
		n++
		f.event("change", encodeToken(c.Cursor), appendChange(nil, c, value.Options{Types: key.types}))
		return n < feedChunk && len(f.buf) < feedBytes
	})
	p.body, p.id = f.buf, encodeToken(p.after)
}
