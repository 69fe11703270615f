package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/region/core"
)

// collectionInfo is what a collection's settings come with. PUT ignores these
// members, so that what GET gave can be changed and put back.
type collectionInfo struct {
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	Revision    string `json:"revision"`
	Created     string `json:"created"`
	// Implicit collections were made by the first write to them.
	Implicit bool `json:"implicit,omitempty"`
	// Shadowed collections are reached by their incarnation: another one, made
	// concurrently, goes by the name.
	Shadowed bool `json:"shadowed,omitempty"`
	Deleted  bool `json:"deleted,omitempty"`
	// Homes are how it stands with the homes.
	Homes []homeState `json:"homes,omitempty"`
	// PolicyHash is that of the policy's script.
	PolicyHash string `json:"policy_hash,omitempty"`
}

var infoMembers = []string{"name", "incarnation", "revision", "created", "implicit", "shadowed", "deleted", "homes", "policy_hash"}

// collectionJSON writes a collection: its settings, as PUT takes them, and what
// else is to be known.
func collectionJSON(c *core.Collection) (json.RawMessage, error) {
	info, err := json.Marshal(collectionInfo{
		Name: c.Name, Incarnation: c.Incarnation.String(), Revision: c.Revision, Created: formatTime(c.Born.Time()),
		Implicit: !c.Explicit, Shadowed: c.Shadowed, Deleted: c.Deleted, Homes: homeStates(c), PolicyHash: conflict.Hash(c.Settings.Policy),
	})
	if err != nil {
		return nil, err
	}
	settings, err := json.Marshal(c.Settings)
	if err != nil {
		return nil, err
	}
	// Both are objects that are not empty: join them.
	return append(append(info[:len(info)-1], ','), settings[1:]...), nil
}

func (s *Server) listCollections(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	out := struct {
		Collections []json.RawMessage `json:"collections"`
	}{[]json.RawMessage{}}
	collections, err := s.region.Collections()
	if err != nil {
		return err
	}
	for _, c := range collections {
		if c.Deleted {
			continue
		}
		b, err := collectionJSON(c)
		if err != nil {
			return err
		}
		out.Collections = append(out.Collections, b)
	}
	return x.answerJSON(r, http.StatusOK, out)
}

func (s *Server) getCollection(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	c, err := s.region.Collection(x.param(r, "collection"))
	if err != nil {
		return err
	}
	return x.answerCollection(r, http.StatusOK, c)
}

func (x *exchange) answerCollection(r *http.Request, status int, c *core.Collection) error {
	b, err := collectionJSON(c)
	if err != nil {
		return err
	}
	return x.answerJSON(r, status, b)
}

func (s *Server) putCollection(x *exchange, r *http.Request) error {
	q := parseQuery(r, "dry-run")
	dry := q.flag("dry-run")
	if q.err != nil {
		return q.err
	}
	if err := needJSON(r); err != nil {
		return err
	}
	if err := unconditional(r); err != nil {
		return err
	}
	body, err := readBody(r, MaxSettingsBytes)
	if err != nil {
		return err
	}
	defer body.release()
	settings, err := parseSettings(body.b)
	if err != nil {
		return err
	}
	name := x.param(r, "collection")
	if err := x.goHolder(r, name); err != nil {
		return err
	}
	if !settings.Acks.IsZero() {
		x.among = nil
		if settings.Regions != nil {
			x.among = settings.Holders(s.region.Members())
		}
		if _, err := x.quorum("the setting acks", settings.Acks.String()); err != nil {
			return err
		}
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	check, err := s.checkSettings(ctx, name, &settings, dry)
	if err != nil {
		return err
	}
	if dry {
		return x.answerDryRun(r, name, &settings, check)
	}
	receipt, err := s.region.PutCollection(ctx, core.PutCollection{Name: name, Settings: settings})
	if err != nil {
		return err
	}
	x.saw(receipt.Have)
	status := http.StatusOK
	if receipt.Created {
		status = http.StatusCreated
	}
	return x.answerCollection(r, status, receipt.Collection)
}

// parseSettings reads the body of PUT of a collection. An empty one asks for
// the defaults.
func parseSettings(body []byte) (core.Settings, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return core.DefaultSettings(), nil
	}
	if err := checkJSON(body); err != nil {
		return core.Settings{}, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return core.Settings{}, problemf(notObject, `the settings of a collection are a JSON object, such as {"type": "document", "policy": "merge"}`)
	}
	for _, name := range infoMembers {
		delete(members, name)
	}
	b, err := json.Marshal(members)
	if err != nil {
		return core.Settings{}, err
	}
	return core.ParseSettings(b)
}

func (s *Server) deleteCollection(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := unconditional(r); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	if err := x.wholeHome(r, x.param(r, "collection")); err != nil {
		return err
	}
	// Its documents are deleted first, which can take many changes: there is no
	// time limit but the client's patience, and what is done stays done.
	conn := http.NewResponseController(x)
	if err := errors.Join(conn.SetReadDeadline(time.Time{}), conn.SetWriteDeadline(time.Time{})); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	name, shares := x.param(r, "collection"), time.Duration(0)
	if s.bounded(&core.Write{Docs: []core.DocWrite{{Collection: name}}}) {
		leave, err := x.queue()
		if err != nil {
			return err
		}
		defer leave()
		shares = x.remaining(r)
	}
	receipt, err := s.region.DeleteCollection(r.Context(), name, shares)
	if err != nil {
		return err
	}
	x.saw(receipt.Have)
	x.empty(r, http.StatusNoContent)
	return nil
}

// unconditional refuses preconditions where none are checked: ignoring them
// would make a write that its client wanted to be conditional.
func unconditional(r *http.Request) error {
	for _, name := range []string{"If-Match", "If-None-Match", HeaderBase} {
		if r.Header.Get(name) != "" {
			return problemf(malformedRequest, "%s is for documents; it is not checked here", name)
		}
	}
	return nil
}
