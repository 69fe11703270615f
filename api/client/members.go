package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// A Member is a region of the cluster.
type Member struct {
	Region string `json:"region"`
	// Address is where the region that answers dials it, empty if it does not know.
	Address string `json:"address,omitempty"`
	// State is one of the states below.
	State string `json:"state"`
	// Waiting are the regions that a removal waits for.
	Waiting []string `json:"waiting,omitempty"`
}

// States of a Member.
const (
	// MemberJoining was added and has not taken everything in yet.
	MemberJoining = "joining"
	MemberActive  = "member"
	// MemberLeaving is being removed, MemberRemoved was.
	MemberLeaving = "leaving"
	MemberRemoved = "removed"
)

// A Removal is how far a removal is.
type Removal struct {
	Member
	// Raw is the answer as it came.
	Raw json.RawMessage `json:"-"`
}

// RemoveRegion removes a region from the cluster for good, or tells how far that is.
// With force it is not asked to leave, and no majority of the regions is needed.
func (c *Client) RemoveRegion(ctx context.Context, region string, force bool) (*Removal, error) {
	path := "/v1/cluster/regions/" + url.PathEscape(region)
	if force {
		path += "?force=true"
	}
	out := &Removal{}
	raw, err := c.change(ctx, http.MethodDelete, path, nil, out)
	out.Raw = raw
	return out, err
}

// An Addition is what became of AddRegion.
type Addition struct {
	Region  string `json:"region"`
	Address string `json:"address,omitempty"`
	// Added says that it was no member before.
	Added bool `json:"added"`
	// Raw is the answer as it came.
	Raw json.RawMessage `json:"-"`
}

// AddRegion makes a region that listens for its peers at an address a member of
// the cluster, or changes the address of one.
func (c *Client) AddRegion(ctx context.Context, region, address string) (*Addition, error) {
	out := &Addition{}
	raw, err := c.change(ctx, http.MethodPost, "/v1/cluster/regions/"+url.PathEscape(region), map[string]string{"address": address}, out)
	out.Raw = raw
	return out, err
}

// SetTopology changes the shape of the links between the regions, and returns the
// answer as it came.
func (c *Client) SetTopology(ctx context.Context, t Topology) (json.RawMessage, error) {
	return c.change(ctx, http.MethodPut, "/v1/cluster/topology", t, &Topology{})
}

// change sends something as JSON and takes the answer apart.
func (c *Client) change(ctx context.Context, method, path string, ask, out any) (json.RawMessage, error) {
	q := request{method: method, path: path}
	if ask != nil {
		body, err := json.Marshal(ask)
		if err != nil {
			return nil, err
		}
		q.header, q.body = WriteOptions{}.header(mediaJSON), body
	}
	a, err := c.decode(ctx, q, out)
	if err != nil {
		return nil, err
	}
	return a.body, nil
}
