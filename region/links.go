package region

import (
	"context"
	"fmt"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// handler passes on what the transport reports to the owner. Blocking when the
// owner is behind is what holds back the peers.
type handler struct {
	r   *Region
	ctx context.Context //nolint:containedctx // ends with Run, as the transport's calls must
}

func (h handler) post(e linkEvent) {
	select {
	case h.r.events <- e:
	case <-h.ctx.Done():
	}
}

func (h handler) LinkUp(l transport.Link) {
	h.r.metrics.links.up(l)
	h.r.forwards.linkUp(h.ctx, l)
	h.post(linkEvent{link: l})
}

func (h handler) LinkDown(l transport.Link, reason error) {
	if reason == nil {
		reason = transport.ErrClosed
	}
	h.r.metrics.links.down(l)
	h.r.forwards.linkDown(l)
	h.post(linkEvent{link: l, down: reason})
}

func (h handler) Receive(l transport.Link, _ transport.Stream, m wire.Message) {
	switch m := m.(type) {
	case wire.Forward, wire.Forwarded:
		h.r.forwards.received(h.ctx, l, m)
		return
	case wire.Hello:
		h.r.forwards.greeted(l, m.MaxVersion)
	}
	h.post(linkEvent{link: l, message: m})
}

// send hands messages to the links. Changes that go out on several are encoded once.
func (o *owner) send(sends []core.Send) {
	packed := map[*[]byte]*wire.Packed{} // by the first change
	for _, s := range sends {
		// Only the owner changes links, so it reads them without the lock.
		l, ok := o.links[s.Peer]
		if !ok {
			continue
		}
		m := s.Message
		if changes, ok := m.(wire.Changes); ok && len(changes.Changes) > 0 {
			first := &changes.Changes[0]
			if packed[first] == nil {
				packed[first] = wire.Pack(m)
			}
			m = packed[first]
		}
		l.Send(m) // a message that is dropped shows in the vectors
	}
}

// A streamJob is a catch-up stream to be served.
type streamJob struct {
	link   transport.Link
	stream core.Stream
}

// offer hands a stream to the workers. If all are busy the request is dropped:
// the peer asks again, or asks another, when nothing comes.
func (o *owner) offer(j streamJob) {
	select {
	case o.streams <- j:
	default:
		o.metrics.streams.WithLabelValues(j.link.Peer(), streamDropped).Inc()
		o.log.Warn("too many catch-up streams, a request is dropped", "peer", j.stream.Peer)
	}
}

func (r *Region) serveStreams(ctx context.Context, jobs <-chan streamJob) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-jobs:
			outcome := streamServed
			err := r.serveStream(ctx, j)
			if err != nil {
				outcome = streamFailed
			}
			r.metrics.streams.WithLabelValues(j.link.Peer(), outcome).Inc()
			if err != nil && ctx.Err() == nil {
				r.log.Warn("catch-up stream failed", "peer", j.stream.Peer, "error", err)
			}
		}
	}
}

func (r *Region) serveStream(ctx context.Context, j streamJob) (err error) {
	w, err := j.link.Bulk(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	snap := r.store.Snapshot()
	defer snap.Close()
	changes, bytes := r.metrics.resent.WithLabelValues(j.link.Peer()), r.metrics.resentBytes.WithLabelValues(j.link.Peer())
	messages := core.CatchUp(snap, j.stream.Peer, j.stream.ID, j.stream.Spans)
	if q := j.stream.Snapshot; q != nil {
		sizes, err := r.store.Sizes()
		if err != nil {
			return err
		}
		messages = core.Snapshot(snap, r.cfg.Region, j.stream.Peer, *q, uint64(sizes.Records), core.SnapshotBytes)
	}
	for msg, readErr := range messages {
		if err := r.waitForPace(ctx, wire.Size(msg)); err != nil {
			return err
		}
		if err := w.Write(ctx, msg); err != nil {
			return err
		}
		if m, ok := msg.(wire.CatchUp); ok {
			changes.Add(float64(len(m.Changes)))
			for _, c := range m.Changes {
				bytes.Add(float64(len(c)))
			}
		}
		if readErr != nil {
			return fmt.Errorf("reading what was asked for: %w", readErr)
		}
	}
	return nil
}

// paceBurst is what streams may send at once.
const paceBurst = 1 << 20

// waitForPace waits until so many bytes may be sent on streams.
func (r *Region) waitForPace(ctx context.Context, n int) error {
	for ; n > 0; n -= paceBurst {
		if err := r.pace.WaitN(ctx, min(n, paceBurst)); err != nil {
			return err
		}
	}
	return nil
}
