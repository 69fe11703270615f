package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/meridiandb/meridian/api/collab"
	"github.com/meridiandb/meridian/crdt"
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
	c, err := s.region.Collection(pathParam(r, "collection"))
	if err != nil {
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
