package collab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// A session is one connection. One goroutine owns it; another reads, and a third
// pings.
type session struct {
	srv        *Server
	conn       *websocket.Conn
	log        *slog.Logger
	collection *core.Collection
	watcher    *region.Watcher
	presence   *rate.Limiter

	peer string // the client's id, "" before it has joined
	docs map[string]*document
	// remotes are the regions that the client wants to hear of, by storage id.
	remotes map[string]string
	// sought are documents that the other regions are being asked for, and toSeek
	// those that are next.
	sought, toSeek []*document
	found          chan struct{}
	lookups        errgroup.Group
}

func newSession(s *Server, conn *websocket.Conn, c *core.Collection) *session {
	return &session{
		srv: s, conn: conn, collection: c, log: s.log.With("collection", c.Name),
		watcher: s.region.NewWatcher(), presence: rate.NewLimiter(PresenceRate, PresenceBurst),
		docs: map[string]*document{}, remotes: map[string]string{}, found: make(chan struct{}, 1),
	}
}

// A closing is why a connection ends.
type closing struct {
	status websocket.StatusCode
	reason string
	tell   bool // by an error message, too
}

func (c *closing) Error() string { return c.reason }

// violation ends the connection of a client that breaks the protocol.
func violation(format string, args ...any) error {
	return &closing{websocket.StatusPolicyViolation, fmt.Sprintf(format, args...), true}
}

// again ends a connection that the client may try again.
func again(format string, args ...any) error {
	return &closing{websocket.StatusTryAgainLater, fmt.Sprintf(format, args...), false}
}

// maxReason is how long the reason in a closing frame may be.
const maxReason = 120

func (s *session) run(ctx context.Context, stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	in := make(chan *message)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.read(gctx, in) })
	g.Go(func() error { return s.ping(gctx) })
	g.Go(func() error {
		err := s.serve(gctx, in, stop)
		s.end(err)
		cancel() // what reads and pings has no other reason to end
		return err
	})
	err := g.Wait()
	cancel()
	_ = s.lookups.Wait()
	s.watcher.Close()
	for _, d := range s.docs {
		s.srv.release(d.shared)
	}
	_ = s.conn.CloseNow()
	s.log.Debug("a sync connection has ended", "peer", s.peer, "documents", len(s.docs), "reason", err)
}

// end tells the client why.
func (s *session) end(err error) {
	c := &closing{status: websocket.StatusGoingAway}
	if !errors.As(err, &c) {
		return // it has gone, or takes nothing in
	}
	if c.tell {
		s.log.Warn("a sync connection is closed", "peer", s.peer, "reason", c.reason)
		_ = s.send(context.Background(), &message{Type: typeError, Message: c.reason})
	}
	_ = s.conn.Close(c.status, c.reason[:min(len(c.reason), maxReason)])
}

// read passes on what the client sends.
func (s *session) read(ctx context.Context, in chan<- *message) error {
	s.conn.SetReadLimit(MaxMessage)
	for {
		kind, b, err := s.conn.Read(ctx)
		if err != nil {
			return err
		}
		m := &message{Type: typeError, Message: "only binary frames are taken"}
		if kind == websocket.MessageBinary {
			if m, err = decode(b); err != nil {
				m = &message{Type: typeError, Message: err.Error()}
			}
		}
		select {
		case in <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ping finds out when the client is gone.
func (s *session) ping(ctx context.Context) error {
	tick := time.NewTicker(PingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		alive, cancel := context.WithTimeout(ctx, PingTimeout)
		err := s.conn.Ping(alive)
		behind := errors.Is(err, context.DeadlineExceeded) && alive.Err() == nil
		cancel()
		// A ping that waits behind a message gives up early. The message has a time
		// of its own.
		if err != nil && !behind {
			return fmt.Errorf("the client does not answer: %w", err)
		}
	}
}

// serve is what the owner does.
func (s *session) serve(ctx context.Context, in <-chan *message, stop <-chan struct{}) error {
	joined := time.NewTimer(JoinTimeout)
	defer joined.Stop()
	offers := time.NewTicker(offerEvery)
	defer offers.Stop()
	holders := time.NewTicker(holdersEvery)
	defer holders.Stop()
	held := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			return &closing{status: websocket.StatusGoingAway, reason: "the region is shutting down"}
		case <-joined.C:
			if s.peer == "" {
				err = violation("no join within %v", JoinTimeout)
			}
		case m := <-in:
			err = s.receive(ctx, m)
		case <-s.watcher.Signal():
			news := s.watcher.Take()
			held = held || news.Held
			err = s.tell(ctx, news)
		case <-s.found:
			err = s.foundOut(ctx)
		case <-offers.C:
			err = s.offerAgain(ctx)
		case <-holders.C:
			if held {
				held = false
				err = s.tellHolders(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// receive handles a message of the client.
func (s *session) receive(ctx context.Context, m *message) error {
	switch {
	case m.Type == typeError:
		return violation("%s", m.Message)
	case m.Type == typeJoin:
		return s.join(ctx, m)
	case s.peer == "":
		return violation("the first message is %.40q, not join", m.Type)
	case m.SenderID != s.peer:
		return nil // what other clients said comes back from those who pass it on
	}
	switch m.Type {
	case typeRequest, typeSync:
		return s.receiveSync(ctx, m)
	case typeEphemeral:
		s.receiveEphemeral(m)
	case typeSubscribe:
		return s.subscribe(ctx, m)
	case typeLeave:
		return &closing{status: websocket.StatusNormalClosure}
	default: // of a later version, or nothing to us
	}
	return nil
}

func (s *session) join(ctx context.Context, m *message) error {
	switch {
	case s.peer != "" && m.SenderID == s.peer:
		return nil // clients join twice when they are fast
	case s.peer != "" || m.SenderID == "":
		return violation("a join names who it is, once")
	case m.Supported != nil && !slices.Contains(m.Supported, protocolVersion1):
		return violation("unsupported protocol version: only %q is spoken here", protocolVersion1)
	}
	s.peer = m.SenderID
	return s.send(ctx, &message{
		Type: typePeer, Selected: protocolVersion1,
		PeerMetadata: &peerMetadata{StorageID: region.StorageID(s.srv.region.ClusterName(), s.srv.region.Name())},
	})
}

// send sends a message, and waits until the client takes it in.
func (s *session) send(ctx context.Context, m *message) error {
	if m.SenderID == "" {
		m.SenderID = s.srv.peerID()
	}
	m.TargetID = s.peer
	b, err := encoding.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageBinary, b); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.srv.dropped.Add(1)
			s.log.Warn("a client is dropped: it takes nothing in", "peer", s.peer, "for", WriteTimeout)
		}
		return err
	}
	return nil
}

// receiveEphemeral passes on what the client says to others who have the document open.
func (s *session) receiveEphemeral(m *message) {
	d := s.docs[m.DocumentID]
	if d == nil || len(m.Data) == 0 || !s.presence.Allow() {
		return
	}
	m.TargetID = ""
	b, err := encoding.Marshal(message{
		Type: typeEphemeral, SenderID: m.SenderID, DocumentID: m.DocumentID, Data: m.Data, Count: m.Count, SessionID: m.SessionID,
	})
	if err == nil && len(b) <= maxPresence {
		s.watcher.Say(d.shared.key, b)
	}
}

// tell lets the client know what is new.
func (s *session) tell(ctx context.Context, news region.News) error {
	for _, t := range news.Heard {
		m, err := decode(t.Data)
		if err != nil || m.Type != typeEphemeral || m.SenderID == s.peer || s.docs[m.DocumentID] == nil {
			continue
		}
		if err := s.send(ctx, m); err != nil {
			return err
		}
	}
	keys := slices.SortedFunc(maps.Keys(news.Changed), func(a, b store.DocKey) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	for _, key := range keys {
		if d := s.docs[key.ID]; d != nil {
			if err := s.respond(ctx, d, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// subscribe notes which regions the client wants to hear of.
func (s *session) subscribe(ctx context.Context, m *message) error {
	for _, id := range m.Add {
		if name := s.srv.regionOf(id); name != "" {
			s.remotes[id] = name
		}
	}
	for _, id := range m.Remove {
		delete(s.remotes, id)
	}
	s.watcher.WatchHolders()
	return s.tellHolders(ctx)
}

// tellHolders tells the client which regions hold its documents as they are here.
func (s *session) tellHolders(ctx context.Context) error {
	if len(s.remotes) == 0 {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(s.docs)) {
		if err := s.tellHoldersOf(ctx, s.docs[id]); err != nil {
			return err
		}
	}
	return nil
}

// seek asks the other regions for a document that is not known here.
func (s *session) seek(ctx context.Context, d *document) {
	s.toSeek = append(s.toSeek, d)
	if s.sought != nil {
		return
	}
	s.sought, s.toSeek = s.toSeek, nil
	s.lookups.Go(func() error {
		members := s.srv.region.Members()
		if q, err := (core.Quorum{Count: core.All}).Among(s.collection.Settings.Holders(members)).Resolve(members); err == nil {
			// If some do not answer, what the others have has come in the meantime.
			_, _ = s.srv.region.Gather(ctx, q, seekTime)
		}
		s.found <- struct{}{} // there is one at a time
		return nil
	})
}

// foundOut answers for the documents that were sought.
func (s *session) foundOut(ctx context.Context) error {
	found := s.sought
	s.sought = nil
	if next := s.toSeek; len(next) > 0 {
		s.toSeek = next[1:]
		s.seek(ctx, next[0])
	}
	for _, d := range found {
		d.sought = true
		if err := s.respond(ctx, d, false); err != nil {
			return err
		}
	}
	return nil
}

// offerAgain begins syncs anew that stand still, and those in which changes wait
// for the home of the document.
func (s *session) offerAgain(ctx context.Context) error {
	now := time.Now()
	for _, id := range slices.Sorted(maps.Keys(s.docs)) {
		d := s.docs[id]
		var err error
		switch {
		case d.refused:
		case d.away:
			err = s.askAgain(ctx, d)
		case d.differs && now.Sub(d.spoke) >= offerEvery:
			d.peer.Restart()
			d.idle = 0
			err = s.respond(ctx, d, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// importLimits bound what a sync message has.
var importLimits = validate.DefaultLimits
