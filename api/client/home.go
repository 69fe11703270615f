package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// A Home is the region that takes the writes of a collection, or of its documents
// whose ids start with a prefix.
type Home struct {
	Prefix string `json:"prefix,omitempty"`
	Region string `json:"region"`
	// Mode is "strict" or "prefer".
	Mode string `json:"mode"`
	// State of a strict home is "granted", or "claimed" while not all regions are
	// known to have stopped taking writes.
	State   string `json:"state,omitempty"`
	Epoch   uint64 `json:"epoch"`
	Replica string `json:"replica,omitempty"`
	// Forced says that it was taken from the one before, which was not asked.
	Forced bool `json:"forced,omitempty"`
}

// A HomeMove is what became of MoveHome.
type HomeMove struct {
	Collection string `json:"collection"`
	Home       Home   `json:"home"`
	// MayLose tells, after a forced move, of the home from which it was taken: how
	// many of its changes are held, and how many were ever heard of.
	MayLose *struct {
		Region    string     `json:"region"`
		Held      uint64     `json:"held"`
		Reported  uint64     `json:"reported"`
		LastHeard *time.Time `json:"last_heard,omitempty"`
	} `json:"may_lose,omitempty"`
	// Raw is the answer as it came.
	Raw json.RawMessage `json:"-"`
}

// Homes tells which homes a collection has.
func (c *Client) Homes(ctx context.Context, collection string) ([]Home, error) {
	var info struct{ Homes []Home }
	_, err := c.decode(ctx, request{method: http.MethodGet, path: "/v1/collections/" + url.PathEscape(collection)}, &info)
	return info.Homes, err
}

// MoveHome makes a region the strict home of a collection, or of a prefix in it.
// With force the present home is not asked.
func (c *Client) MoveHome(ctx context.Context, collection, prefix, region string, force bool) (*HomeMove, error) {
	ask := struct {
		Region string `json:"region"`
		Prefix string `json:"prefix,omitempty"`
		Force  bool   `json:"force,omitempty"`
	}{region, prefix, force}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	m := &HomeMove{}
	a, err := c.decode(ctx, request{
		method: http.MethodPost, path: "/v1/collections/" + url.PathEscape(collection) + "/home",
		header: WriteOptions{}.header(mediaJSON), body: body,
	}, m)
	if err != nil {
		return nil, err
	}
	m.Raw = a.body
	return m, nil
}
