package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// The states of a link's Fault.
const (
	LinkUp  = "up"
	LinkCut = "cut"
)

// A Fault is what a region does to its link with another one, on request. It
// needs a server with --fault-injection.
type Fault struct {
	// State is LinkUp or LinkCut.
	State string `json:"state"`
	// Delay holds every message up, such as "80ms".
	Delay string `json:"delay,omitempty"`
	// Loss is the share of live messages that vanish, 0 to 1.
	Loss float64 `json:"loss"`
	// Direction is "both", "in" or "out"; "" is both.
	Direction string `json:"direction,omitempty"`
	// For is how long the fault lasts, such as "30s", at most "24h"; then there is
	// again the last one that was set without. "" is for good.
	For string `json:"for,omitempty"`
}

func faultPath(region string) string { return "/v1/faults/links/" + url.PathEscape(region) }

// Fault returns the fault of the link with a region.
func (c *Client) Fault(ctx context.Context, region string) (*Fault, error) {
	f := &Fault{}
	_, err := c.decode(ctx, request{method: http.MethodGet, path: faultPath(region)}, f)
	return f, err
}

// SetFault puts a fault on the link with a region, in place of the one that it has.
func (c *Client) SetFault(ctx context.Context, region string, f Fault) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{
		method: http.MethodPut, path: faultPath(region), header: http.Header{"Content-Type": []string{mediaJSON}}, body: body,
	})
	return err
}
