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
}

// States of a Member.
const (
	// MemberJoining was added and has not taken everything in yet.
	MemberJoining = "joining"
	MemberActive  = "member"
)

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
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	a, err := c.decode(ctx, request{method: method, path: path, header: WriteOptions{}.header(mediaJSON), body: body}, out)
	if err != nil {
		return nil, err
	}
	return a.body, nil
}
