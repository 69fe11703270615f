package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// A PolicyCheck is what a region is asked to try.
type PolicyCheck struct {
	// Collection, if there is one, tries the policy on its conflicts too.
	Collection string `json:"collection,omitempty"`
	// Type is that of the collection, or "document" without one.
	Type string `json:"type,omitempty"`
	// Policy and Fields are as in the settings of a collection.
	Policy json.RawMessage `json:"policy,omitempty"`
	Fields json.RawMessage `json:"fields,omitempty"`
}

// A PolicyReport is what a check has found.
type PolicyReport struct {
	OK     bool   `json:"ok"`
	Policy string `json:"policy"`
	// Hash is that of the policy's script.
	Hash  string `json:"hash,omitempty"`
	Cases struct {
		Generated int `json:"generated"`
		Recorded  int `json:"recorded"`
	} `json:"cases"`
	Faults []PolicyFault `json:"faults"`
	// Documents counts those of the collection that were looked at.
	Documents *ComparedDocuments `json:"documents,omitempty"`
	Outcomes  []PolicyOutcome    `json:"outcomes"`
	// Raw is the answer as it came.
	Raw json.RawMessage `json:"-"`
}

// A PolicyFault is a case in which a policy fails its check.
type PolicyFault struct {
	// Kind is "fails", "not-deterministic" or "depends-on-order".
	Kind     string    `json:"kind"`
	Why      string    `json:"why"`
	Case     string    `json:"case"`
	Path     string    `json:"path"`
	Versions []Version `json:"versions"`
}

// ComparedDocuments counts documents under the present and another policy.
type ComparedDocuments struct {
	Scanned    int `json:"scanned"`
	Conflicted int `json:"conflicted"`
	// Changed would show something else.
	Changed   int  `json:"changed"`
	Truncated bool `json:"truncated"`
}

// A PolicyOutcome is what a policy makes of a conflict of the collection.
type PolicyOutcome struct {
	ID       string    `json:"id"`
	Path     string    `json:"path"`
	Policy   string    `json:"policy"`
	Versions []Version `json:"versions"`
	// Value is what the policy made; absent where it shows one of the versions.
	Value  json.RawMessage `json:"value,omitempty"`
	Open   bool            `json:"open,omitempty"`
	Failed string          `json:"failed,omitempty"`
	Why    string          `json:"why"`
	// Changes says that the document would show something else than it does.
	Changes bool `json:"changes"`
}

// CheckPolicy has a region try a policy. Nothing is set.
func (c *Client) CheckPolicy(ctx context.Context, check PolicyCheck) (*PolicyReport, error) {
	body, err := json.Marshal(check)
	if err != nil {
		return nil, err
	}
	r := &PolicyReport{}
	a, err := c.decode(ctx, request{method: http.MethodPost, path: "/v1/policies/check", header: WriteOptions{}.header(mediaJSON), body: body}, r)
	if err != nil {
		return nil, err
	}
	r.Raw = a.body
	return r, nil
}
