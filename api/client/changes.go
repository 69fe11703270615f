package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// A Change is one atomic write, as a feed shows it.
type Change struct {
	// Cursor is what a feed goes on from behind the change, in any region.
	Cursor string `json:"cursor"`
	Dot    string `json:"dot"`
	Stamp  string `json:"stamp"`
	Time   string `json:"time"`
	// Region is the one that wrote it.
	Region string            `json:"region"`
	Docs   []ChangedDocument `json:"docs"`
	// Raw is the change as it came.
	Raw json.RawMessage `json:"-"`
}

// A ChangedDocument is a document that a change touched, as it was when the feed
// was read.
type ChangedDocument struct {
	Collection string `json:"collection"`
	Document
	Deleted bool `json:"deleted"`
}

// ChangeOptions narrow a feed of changes.
type ChangeOptions struct {
	// Collection is the one to watch, "" for all.
	Collection string
	// Cursor is where to begin: a Change's, the token of any answer, "0" for the
	// beginning, or "" for the present.
	Cursor string
	Types  bool
	// Lost, if not nil, is told why a feed was lost, before it is asked for again.
	Lost func(error)
}

// ErrStop ends WatchChanges without an error when f returns it, with the change
// that f was called with taken in.
var ErrStop = errors.New("stop")

// WatchChanges calls f with each change from a cursor on, and goes on with the next
// nearest region when a feed is lost. Each change comes at least once and, while the
// connection lasts, once. It ends with the error of f or of the context, or a
// *ProblemError that coming again cannot help, such as that the region does not keep
// what has changed since the cursor. cursor is what to go on from.
func (c *Client) WatchChanges(ctx context.Context, o ChangeOptions, f func(*Change) error) (cursor string, err error) {
	path := "/v1/changes"
	if o.Collection != "" {
		path = "/v1/collections/" + url.PathEscape(o.Collection) + "/changes"
	}
	q := url.Values{}
	if o.Types {
		q.Set("types", "1")
	}
	cursor = o.Cursor
	began := cursor != ""
	for {
		one := &Client{base: c.Addr(), http: c.http, session: c.session}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var taken error
		cursor, err = one.follow(ctx, path, q, cursor, func(name string, data []byte) error {
			if name != "change" {
				return nil
			}
			x := &Change{Raw: data}
			if taken = json.Unmarshal(data, x); taken != nil {
				taken = fmt.Errorf("the feed of %s makes no sense: %w", one.base, taken)
			} else {
				taken = f(x)
			}
			return taken
		})
		began = began || cursor != ""
		var unreachable *UnreachableError
		switch {
		case errors.Is(taken, ErrStop):
			return cursor, nil
		case taken != nil || !began || !errors.As(err, &unreachable) && !errors.Is(err, ErrUnavailable):
			return cursor, err
		}
		if c.regions != nil {
			c.regions.failed(one.base)
		}
		if o.Lost != nil {
			o.Lost(err)
		}
		select {
		case <-ctx.Done():
			return cursor, ctx.Err()
		case <-time.After(WatchRetry):
		}
	}
}
