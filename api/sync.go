package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/meridiandb/meridian/api/collab"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/region/core"
)

// syncDocs answers with a WebSocket on which clients of automerge-repo work on
// the collection's documents together.
func (s *Server) syncDocs(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	// A browser sends no preflight for a WebSocket, and lets any page open one: it
	// is a write.
	asWrite := r.Clone(r.Context())
	asWrite.Method = http.MethodPost
	if err := s.crossOrigin.Check(asWrite); err != nil {
		return problemf(crossOrigin, "%v", err)
	}
	c, err := s.region.Collection(x.param(r, "collection"))
	if err != nil {
		return err
	}
	if err := x.streamedHere(x.param(r, "collection")); err != nil {
		return err
	}
	if c.Settings.Type != crdt.TypeAutomerge {
		return problemf(invalid, "%s holds documents of type %q; only those of collections of type %q can be synced", c.Name, c.Settings.Type, crdt.TypeAutomerge)
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		x.Header()["Upgrade"] = []string{"websocket"}
		return problemf(upgradeRequired, "open a WebSocket here; its messages are those of automerge-repo's network protocol, version 1")
	}
	if s.syncs.Add(1) > int64(s.cfg.MaxSyncs) {
		s.syncs.Add(-1)
		return problemf(busy, "%d clients are being synced with already", s.cfg.MaxSyncs)
	}
	defer s.syncs.Add(-1)
	if err := s.region.Ready(); err != nil {
		return err
	}
	// The origin was checked above, with the server's trusted ones.
	conn, err := websocket.Accept(x, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil // it has been answered
	}
	s.collab.Serve(context.WithoutCancel(r.Context()), s.closing.Done(), conn, c)
	return nil
}

// importAtHome has another region, the home of a document, take in the changes
// that a client brought here: by the request that a client of that region would
// make. It returns once they have come back.
func (s *Server) importAtHome(ctx context.Context, home string, w core.DocWrite) error {
	raw := w.Edit.Raw
	if len(raw) > automerge.MaxPayload {
		return fmt.Errorf("%w: %d bytes of changes, at most %d go into one write", crdt.ErrTooLarge, len(raw), automerge.MaxPayload)
	}
	out := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/v1/collections/" + w.Collection + "/docs/" + w.ID + "/automerge"},
		Host: s.region.Name(), ContentLength: int64(len(raw)), Body: io.NopCloser(bytes.NewReader(raw)),
		Header: http.Header{
			"Content-Type": {MediaAutomerge}, "User-Agent": {""}, HeaderVia: {s.region.Name()},
			// What the changes depend on is here.
			HeaderToken: {encodeToken(s.region.Have())},
		},
	}
	var request bytes.Buffer
	if err := out.Write(&request); err != nil {
		return fmt.Errorf("%w: %w", collab.ErrAway, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	// Changes that were taken and whose answer was lost come back by themselves,
	// and are left out when they are offered again.
	answer, err := s.region.Forward(ctx, home, request.Bytes())
	if err != nil {
		return fmt.Errorf("%w: %w", collab.ErrAway, err)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), out)
	if err != nil {
		return fmt.Errorf("%w: the answer of %s cannot be read: %w", collab.ErrAway, home, err)
	}
	defer func() { _ = res.Body.Close() }() // memory
	if res.StatusCode < http.StatusMultipleChoices {
		if v, err := decodeToken(res.Header.Get(HeaderToken)); err == nil {
			_ = s.region.Wait(ctx, v) // what is late is told when it is there
		}
		return nil
	}
	var p Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		return fmt.Errorf("%w: %s answers %s", collab.ErrAway, home, res.Status)
	}
	switch {
	case p.Retryable || res.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %s says: %s", collab.ErrAway, home, p.Detail)
	case p.Type == misfit.uri():
		return fmt.Errorf("%w: %s says: %s", crdt.ErrConflict, home, p.Detail)
	}
	return fmt.Errorf("%w: %s says: %s", crdt.ErrRefused, home, p.Detail)
}

// mintID makes the id of a new document of a collection: a UUIDv7, in the form
// that the collection's clients know ids in.
func (s *Server) mintID(collection string) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	if c, err := s.region.Collection(collection); err == nil && c.Settings.Type == crdt.TypeAutomerge {
		return collab.DocumentID(id), nil
	}
	return id.String(), nil
}
