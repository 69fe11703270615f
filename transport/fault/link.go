package fault

import (
	"context"
	"fmt"
	"sync"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// bulkLines is how many lines the incoming bulk streams of a link share.
const bulkLines = 16

// A link is one of the inner transport with the faults of its region.
type link struct {
	transport.Link
	t      *Transport
	ctx    context.Context
	cancel context.CancelFunc
	out    *line
	in     [1 + bulkLines]*line // live, and bulk
}

// line returns the line of an incoming stream.
func (l *link) line(s transport.Stream) *line {
	if s == transport.Live {
		return l.in[0]
	}
	return l.in[1+s%bulkLines]
}

// fault returns the fault that works on what is sent.
func (l *link) fault() Fault {
	if f := l.t.fault(l.Peer()); f.out() {
		return f
	}
	return Fault{}
}

func (l *link) Send(m wire.Message) bool {
	f := l.fault()
	if l.t.vanishes(f) {
		return true
	}
	if f.Delay == 0 && l.out.idle() || wire.Check(m) != nil {
		return l.Link.Send(m)
	}
	return l.out.put(m, f.Delay, false, func() { l.Link.Send(m) })
}

func (l *link) Bulk(ctx context.Context) (transport.BulkWriter, error) {
	if l.fault().State == Cut {
		return nil, fmt.Errorf("open a bulk stream to %s: %w", l.Peer(), ErrCut)
	}
	w, err := l.Link.Bulk(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(l.ctx)
	return &bulk{link: l, inner: w, ctx: ctx, cancel: cancel, line: newLine(ctx)}, nil
}

// bulk is a bulk stream of an inner link. While nothing is wrong it only passes
// calls on.
type bulk struct {
	link   *link
	inner  transport.BulkWriter
	ctx    context.Context
	cancel context.CancelFunc
	line   *line

	mu  sync.Mutex
	err error // of a write that was held up
}

func (b *bulk) Write(ctx context.Context, m wire.Message) error {
	f := b.link.fault()
	if err := b.failed(nil); err != nil {
		return err
	}
	if f.State == Cut {
		return b.abort(m, ErrCut)
	}
	if f.Delay == 0 && b.line.idle() {
		return b.inner.Write(ctx, m)
	}
	if err := wire.Check(m); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, b.cancel)
	ok := b.line.put(m, f.Delay, true, func() {
		if b.link.fault().State == Cut {
			_ = b.failed(ErrCut)
			giveUp(b.inner, m)
		} else if err := b.inner.Write(b.ctx, m); err != nil {
			_ = b.failed(err)
		}
	})
	switch {
	case !stop():
		return b.abort(m, context.Cause(ctx))
	case !ok:
		return b.abort(m, transport.ErrClosed)
	}
	return b.failed(nil)
}

// abort ends the stream for a reason.
func (b *bulk) abort(m wire.Message, reason error) error {
	err := b.failed(fmt.Errorf("bulk stream to %s: %w", b.link.Peer(), reason))
	b.cancel()
	b.line.drain() // now the inner stream is ours again
	giveUp(b.inner, m)
	return err
}

// giveUp makes a stream give up, which it does when the context of a write has
// ended.
func giveUp(w transport.BulkWriter, m wire.Message) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.Write(ctx, m)
}

// failed notes the first error, and returns it.
func (b *bulk) failed(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return b.err
}

func (b *bulk) Close() error {
	b.line.drain()
	b.cancel()
	return b.inner.Close()
}
