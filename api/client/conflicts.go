package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// A ConflictVersion is one of the versions of a conflict in the log.
type ConflictVersion struct {
	Version
	// Size is that of the value in bytes, which the log may have without the value.
	Size int `json:"size,omitempty"`
	// ConcurrentWith are the versions that the writer had not seen, and Relation
	// says so in words.
	ConcurrentWith []string `json:"concurrent_with,omitempty"`
	Relation       string   `json:"relation,omitempty"`
}

// A Settlement says how a conflict ended.
type Settlement struct {
	By       string `json:"by"`
	Time     string `json:"time"`
	Region   string `json:"region"`
	Deleted  bool   `json:"deleted,omitempty"`
	Restored string `json:"restored,omitempty"`
	Next     string `json:"next,omitempty"`
}

// A LoggedConflict is a conflict in a region's log, as lists and feeds have it.
type LoggedConflict struct {
	ID          string            `json:"id"`
	Collection  string            `json:"collection"`
	Incarnation string            `json:"incarnation"`
	Document    string            `json:"document"`
	Path        string            `json:"path"`
	Kind        string            `json:"kind"`
	State       string            `json:"state"`
	Policy      string            `json:"policy"`
	Why         string            `json:"why"`
	Seen        string            `json:"seen"`
	Changed     string            `json:"changed"`
	Change      uint64            `json:"change"`
	Versions    []ConflictVersion `json:"versions"`
	Unlisted    int               `json:"unlisted,omitempty"`
	Settled     *Settlement       `json:"settled,omitempty"`
	// Raw is the conflict as it came.
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the conflict as it came beside what it says.
func (c *LoggedConflict) UnmarshalJSON(b []byte) error {
	type plain LoggedConflict
	if err := json.Unmarshal(b, (*plain)(c)); err != nil {
		return err
	}
	c.Raw = bytes.Clone(b)
	return nil
}

// A ConflictOutcome is a policy and what it makes of a conflict.
type ConflictOutcome struct {
	Policy json.RawMessage `json:"policy,omitempty"`
	Name   string          `json:"name"`
	Hash   string          `json:"hash"`
	// Shown is the version that is shown, "" if Value is the policy's own.
	Shown string          `json:"shown,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	Open  bool            `json:"open"`
	// Pending says that a callback is still to decide.
	Pending bool   `json:"pending,omitempty"`
	Failed  string `json:"failed,omitempty"`
	Why     string `json:"why"`
}

// An ExplainedConflict is all that a region knows of a conflict.
type ExplainedConflict struct {
	LoggedConflict
	ConflictExplanation
}

// A ConflictStep is something that the region which asks a callback went through.
type ConflictStep struct {
	Time   string `json:"time"`
	Region string `json:"region"`
	What   string `json:"what"`
}

// ConflictExplanation is what an explanation adds to the list.
type ConflictExplanation struct {
	Explanation string `json:"explanation"`
	// Steps tell how a callback was asked, in the region that asked.
	Steps    []ConflictStep  `json:"steps"`
	Recorded ConflictOutcome `json:"recorded"`
	Present  ConflictOutcome `json:"present"`
	Now      struct {
		Standing bool            `json:"standing"`
		Exists   bool            `json:"exists"`
		ETag     string          `json:"etag"`
		Value    json.RawMessage `json:"value"`
	} `json:"now"`
}

// UnmarshalJSON reads both parts.
func (c *ExplainedConflict) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &c.LoggedConflict); err != nil {
		return err
	}
	return json.Unmarshal(b, &c.ConflictExplanation)
}

// ConflictOptions say which conflicts are wanted.
type ConflictOptions struct {
	Collection, State, Region string
	// Since is a time in RFC 3339, or a duration; for lists.
	Since string
	// Limit is the most conflicts of a page; 0 leaves it to the region.
	Limit  int
	Cursor string
}

func (o *ConflictOptions) query() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{
		"collection": o.Collection, "state": o.State, "region": o.Region, "since": o.Since, "cursor": o.Cursor,
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	return q
}

// A ConflictPage is a part of the log, the newest first. Cursor is "" on the last
// one, Changes is from where a feed goes on.
type ConflictPage struct {
	Conflicts []LoggedConflict `json:"conflicts"`
	Changes   uint64           `json:"changes"`
	Cursor    string           `json:"cursor"`
}

const conflictsPath = "/v1/conflicts"

// Conflicts reads a page of the region's log.
func (c *Client) Conflicts(ctx context.Context, o ConflictOptions) (*ConflictPage, error) {
	p := &ConflictPage{}
	_, err := c.decode(ctx, request{method: http.MethodGet, path: conflictsPath, query: o.query()}, p)
	return p, err
}

// Conflict explains one conflict.
func (c *Client) Conflict(ctx context.Context, id string, types bool) (*ExplainedConflict, error) {
	e := &ExplainedConflict{}
	_, err := c.decode(ctx, request{method: http.MethodGet, path: conflictPath(id), query: typesQuery(types)}, e)
	return e, err
}

func conflictPath(id string) string { return conflictsPath + "/" + url.PathEscape(id) }

// A DiffOp is an operation of a JSON Patch.
type DiffOp struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

// A ConflictPreview is what another policy would make of a conflict.
type ConflictPreview struct {
	ID         string          `json:"id"`
	Collection string          `json:"collection"`
	Document   string          `json:"document"`
	Path       string          `json:"path"`
	State      string          `json:"state"`
	Outcome    ConflictOutcome `json:"outcome"`
	Now        json.RawMessage `json:"now,omitempty"`
	Changes    bool            `json:"changes"`
	Diff       []DiffOp        `json:"diff"`
	// Unknown says that a value is not kept that the policy would need.
	Unknown bool `json:"unknown,omitempty"`
}

// PreviewConflict asks what another policy would make of a conflict.
func (c *Client) PreviewConflict(ctx context.Context, id string, policy json.RawMessage) (*ConflictPreview, error) {
	p := &ConflictPreview{}
	return p, c.ask(ctx, conflictPath(id)+"/preview", map[string]any{"policy": policy}, "", p)
}

// ConflictPreviews is what another policy would make of the last conflicts of a collection.
type ConflictPreviews struct {
	Checked   int               `json:"checked"`
	Changes   int               `json:"changes"`
	Conflicts []ConflictPreview `json:"conflicts"`
}

// PreviewConflicts asks that. With last 0 the region says how many.
func (c *Client) PreviewConflicts(ctx context.Context, collection string, policy json.RawMessage, last int) (*ConflictPreviews, error) {
	body := map[string]any{"policy": policy, "collection": collection}
	if last > 0 {
		body["last"] = last
	}
	p := &ConflictPreviews{}
	return p, c.ask(ctx, conflictsPath+"/preview", body, "", p)
}

// RestoreConflict writes a version of a conflict back. ifMatch may be "".
func (c *Client) RestoreConflict(ctx context.Context, id, dot, ifMatch string) (*Receipt, error) {
	r := &Receipt{}
	body, err := json.Marshal(map[string]string{"dot": dot})
	if err != nil {
		return nil, err
	}
	a, err := c.decode(ctx, request{
		method: http.MethodPost, path: conflictPath(id) + "/restore", header: WriteOptions{IfMatch: ifMatch}.header(mediaJSON), body: body,
	}, r)
	if err != nil {
		return nil, err
	}
	r.Created, r.Region = a.status == http.StatusCreated, a.header.Get(HeaderRegion)
	return r, nil
}

func (c *Client) ask(ctx context.Context, path string, body any, ifMatch string, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.decode(ctx, request{method: http.MethodPost, path: path, header: WriteOptions{IfMatch: ifMatch}.header(mediaJSON), body: b}, into)
	return err
}

// WatchConflicts calls f with each conflict that is new or changes, from after
// on; nil begins at present. It ends with the error of f or of the context, an
// *UnreachableError when the connection is lost, or a *ProblemError when the
// region says why it ends. last is the change to go on from.
func (c *Client) WatchConflicts(ctx context.Context, o ConflictOptions, after *uint64, f func(*LoggedConflict) error) (last *uint64, err error) {
	o.Since, o.Limit, o.Cursor = "", 0, ""
	q := o.query()
	if after != nil {
		q.Set("after", strconv.FormatUint(*after, 10))
	}
	id, err := c.follow(ctx, conflictsPath, q, "", func(name string, data []byte) error {
		if name != "conflict" {
			return nil
		}
		var x LoggedConflict
		if err := json.Unmarshal(data, &x); err != nil {
			return fmt.Errorf("the feed of %s makes no sense: %w", c.base, err)
		}
		return f(&x)
	})
	if n, bad := strconv.ParseUint(id, 10, 64); bad == nil {
		after = &n
	}
	return after, err
}
