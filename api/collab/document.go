package collab

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/amsync"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// maxPresence is the most that is passed on of an ephemeral message.
const maxPresence = wire.MaxPresence

// A document is one that a connection has open.
type document struct {
	id     string
	shared *shared
	peer   *amsync.Peer
	// sought says that the other regions were asked for it, since it is not known here.
	sought bool
	// refused says that the client has changes that are not taken.
	refused bool
	// away says that the document's home did not take changes of the client. They
	// are left with it, and so are others, until all are asked for again.
	away bool
	// unavailable says that the client knows that there is no such document.
	unavailable bool
	// seen says that it existed while the connection did, and gone what the client
	// had when it was deleted.
	seen bool
	gone []amsync.Hash
	// differs says that the client had something else when it was last heard,
	// spoke is when something was last said, and idle how often to no avail.
	differs bool
	spoke   time.Time
	idle    int
	// told is what the client knows of who holds which version, by storage id.
	told map[string]string
}

// maxIdle is how often both sides may say that they differ without anything
// that would change it, before that is left until offerEvery.
const maxIdle = 8

// attempts is how often changes are tried to be written while the document changes.
const attempts = 5

// open finds a document, or opens it.
func (s *session) open(id string) (*document, error) {
	if d := s.docs[id]; d != nil {
		return d, nil
	}
	if err := CheckDocumentID(id); err != nil {
		return nil, violation("%v", err)
	}
	if len(s.docs) >= MaxDocuments {
		return nil, violation("%d documents are open, no more are allowed on a connection", MaxDocuments)
	}
	key := store.DocKey{Collection: s.collection.Incarnation, ID: id}
	d := &document{id: id, shared: s.srv.acquire(key), peer: amsync.NewPeer(), told: map[string]string{}}
	s.docs[id] = d
	s.watcher.Watch(key)
	return d, nil
}

// receiveSync handles a sync message. A request is one of a client that has nothing.
func (s *session) receiveSync(ctx context.Context, m *message) error {
	d, err := s.open(m.DocumentID)
	if err != nil || d.refused {
		return err
	}
	in, err := validate.ParseSync(m.Data, importLimits)
	if err != nil {
		return violation("document %s: %v", d.id, err)
	}
	d.spoke = time.Now()
	if m.Type == typeRequest {
		d.unavailable, d.sought = false, false
	}
	if len(in.Changes) > 0 && !d.away {
		if err := s.take(ctx, d, in); err != nil || d.refused {
			return err
		}
	}
	err = s.srv.with(ctx, d.shared, func(doc region.Synced) { d.peer.Receive(doc.History, in) })
	if err != nil {
		return again("document %s cannot be read", d.id)
	}
	if len(in.Changes) > 0 && !d.away {
		d.idle = 0
	}
	return s.respond(ctx, d, true)
}

// take writes the changes of a message.
func (s *session) take(ctx context.Context, d *document, in *validate.SyncMessage) error {
	var err error
	for range attempts {
		var ready []*validate.Change
		var before [][]byte // what a deleted document had, for it is written anew
		var wins bool
		werr := s.srv.with(ctx, d.shared, func(doc region.Synced) {
			if wins = doc.Wins && !doc.Exists; wins {
				return
			}
			if ready, err = d.peer.Offer(doc.History, in); err == nil && !doc.Exists && len(ready) > 0 {
				before = doc.History.All()
			}
		})
		switch {
		case werr != nil:
			return again("document %s cannot be read", d.id)
		case wins:
			return nil // it was deleted for good
		case err != nil:
			return s.refuse(ctx, d, err)
		}
		if err = s.write(ctx, d, before, ready); err == nil {
			return nil
		}
		if !errors.Is(err, crdt.ErrConflict) {
			break
		}
		// What they depend on has gone: the document was deleted just now.
	}
	if errors.Is(err, ErrAway) || errors.Is(err, core.ErrNotHome) || errors.Is(err, core.ErrHomePending) || errors.Is(err, core.ErrNoAuthority) {
		return s.away(ctx, d, err)
	}
	for _, refusal := range []error{crdt.ErrConflict, crdt.ErrTooLarge, crdt.ErrRefused, crdt.ErrTooManySiblings, core.ErrTooBig, core.ErrInvalid, store.ErrBatchTooLarge} {
		if errors.Is(err, refusal) {
			return s.refuse(ctx, d, err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.log.Warn("changes of a client cannot be written now", "document", d.id, "peer", s.peer, "error", err)
	return again("document %s cannot be written now: %v", d.id, err)
}

// write makes as many writes of the changes as are needed, each of which is
// whole in itself.
func (s *session) write(ctx context.Context, d *document, before [][]byte, ready []*validate.Change) error {
	var raw []byte
	for _, b := range before {
		raw = append(raw, b...)
	}
	n := 0
	flush := func() error {
		w := core.DocWrite{
			Collection: s.collection.Incarnation.String(), ID: d.id, Edit: crdt.Edit{Kind: crdt.EditImport, Raw: raw},
		}
		_, err := s.srv.region.Write(ctx, core.Write{Docs: []core.DocWrite{w}})
		if home, ok := errors.AsType[*core.NotHomeError](err); ok && home.Region != s.srv.region.Name() {
			err = s.srv.atHome(ctx, home.Region, w)
		}
		raw, n = nil, 0
		return err
	}
	for _, c := range ready {
		raw = append(raw, c.Raw...)
		if n++; n == writeChanges || len(raw) >= writeBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if n > 0 {
		return flush()
	}
	return nil
}

// refuse leaves a document alone of which the client has changes that cannot be
// taken. Its other documents go on.
func (s *session) refuse(ctx context.Context, d *document, err error) error {
	d.refused = true
	s.log.Warn("changes of a client are refused; the document is not synced with it any more",
		"document", d.id, "peer", s.peer, "error", err)
	return s.unavailable(ctx, d)
}

// away leaves changes with the client, which is told so, until they are asked for again.
func (s *session) away(ctx context.Context, d *document, err error) error {
	d.away = true
	s.log.Info("changes of a client wait for the home of the document", "document", d.id, "peer", s.peer, "error", err)
	d.unavailable = false
	return s.unavailable(ctx, d)
}

// askAgain asks for the changes that the home did not take.
func (s *session) askAgain(ctx context.Context, d *document) error {
	d.away, d.idle, d.spoke = false, 0, time.Now()
	var out *validate.SyncMessage
	if err := s.srv.with(ctx, d.shared, func(doc region.Synced) { out = d.peer.Again(doc.History) }); err != nil {
		return again("document %s cannot be read", d.id)
	}
	return s.send(ctx, &message{Type: typeSync, DocumentID: d.id, Data: out.Append(nil, true)})
}

func (s *session) unavailable(ctx context.Context, d *document) error {
	if d.unavailable {
		return nil
	}
	d.unavailable = true
	return s.send(ctx, &message{Type: typeUnavailable, DocumentID: d.id})
}

// respond sends what there is to say about a document. Answer says that the
// client has just sent something.
func (s *session) respond(ctx context.Context, d *document, answer bool) error {
	if d.refused || !d.peer.Heard() {
		return nil
	}
	var out *validate.SyncMessage
	var missing, seek bool
	err := s.srv.with(ctx, d.shared, func(doc region.Synced) {
		h := doc.History
		d.differs = d.away || doc.Exists && !d.peer.Synced(h)
		switch {
		case doc.Exists:
			d.seen, d.gone = true, nil
		case d.seen && d.gone == nil:
			d.gone = d.peer.Heads()
		}
		switch {
		case doc.Exists || !doc.Known && !d.seen && d.peer.Lacks(h):
			// It is there, or the client has it and nobody else yet.
			if answer && d.idle >= maxIdle {
				return
			}
			out = d.peer.Generate(h)
		case !doc.Wins && d.peer.Lacks(h) && !(d.seen && slices.Equal(d.gone, d.peer.Heads())):
			// It was deleted, and the client has edits that did not know of it.
			out = d.peer.Ask(h)
		case doc.Known || d.seen || d.sought:
			missing = true
		default:
			seek = true
		}
	})
	switch {
	case err != nil:
		return again("document %s cannot be read", d.id)
	case seek:
		if !slices.Contains(s.sought, d) && !slices.Contains(s.toSeek, d) {
			s.seek(ctx, d)
		}
		return nil
	case missing:
		return s.unavailable(ctx, d)
	case out == nil:
		return nil
	}
	d.unavailable, d.spoke = false, time.Now()
	if d.idle++; len(out.Changes) > 0 || !d.differs {
		d.idle = 0
	}
	if err := s.send(ctx, &message{Type: typeSync, DocumentID: d.id, Data: out.Append(nil, true)}); err != nil {
		return err
	}
	if len(s.remotes) > 0 {
		return s.tellHoldersOf(ctx, d)
	}
	return nil
}

// tellHoldersOf tells the client which regions hold a document as it is here, if
// it does not know.
func (s *session) tellHoldersOf(ctx context.Context, d *document) error {
	m := &message{Type: typeRemoteHeads, DocumentID: d.id, NewHeads: map[string]remoteHeads{}}
	err := s.srv.with(ctx, d.shared, func(doc region.Synced) {
		if !doc.Exists {
			return
		}
		var heads []string
		version := ""
		for _, h := range doc.History.Heads() {
			heads = append(heads, encodeHash(h))
			version += string(h[:])
		}
		holders := append(s.srv.region.Holders(doc.Dots), s.srv.region.Name())
		for id, name := range s.remotes {
			if d.told[id] != version && s.collection.Settings.HeldBy(name) && slices.Contains(holders, name) {
				d.told[id] = version
				m.NewHeads[id] = remoteHeads{Heads: heads, Timestamp: float64(time.Now().UnixMilli())}
			}
		}
	})
	if err != nil {
		return again("document %s cannot be read", d.id)
	}
	if len(m.NewHeads) == 0 {
		return nil
	}
	return s.send(ctx, m)
}
