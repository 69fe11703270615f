package region

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// A lane writes forwarded requests and answers to a peer, on one bulk stream.
// Its goroutine owns the stream; it runs from the peer's greeting until stop.
type lane struct {
	link   transport.Link
	speaks bool // the peer takes them; guarded by forwarder.mu
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	queue []*laneItem
	bytes int
	wake  chan struct{} // holds one
}

// A laneItem is written or withdrawn, whichever comes first.
type laneItem struct {
	message wire.Message
	taken   atomic.Bool
	// failed, if set, is told that the item was not written, or perhaps not whole.
	failed func(err error)
}

func (i *laneItem) fail(err error) {
	if i.failed != nil {
		i.failed(err)
	}
}

func (i *laneItem) withdraw() bool { return i.taken.CompareAndSwap(false, true) }

func newLane(ctx context.Context, link transport.Link) *lane {
	l := &lane{link: link, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	l.ctx, l.stop = context.WithCancel(ctx)
	return l
}

// push queues an item; it reports false if there is no room.
func (l *lane) push(i *laneItem) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := wire.Size(i.message)
	if l.ctx.Err() != nil || l.bytes > 0 && l.bytes+size > maxLaneBytes {
		return false
	}
	l.queue = append(l.queue, i)
	l.bytes += size
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

func (l *lane) take() *laneItem {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	i := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	l.bytes -= wire.Size(i.message)
	return i
}

// run writes what is queued. The stream is opened at once, so that catch-up does
// not take all there are. One that breaks takes with it what was being written;
// the next message opens another.
func (l *lane) run() {
	defer close(l.done)
	w, err := l.link.Bulk(l.ctx)
	defer func() {
		if w != nil {
			_ = w.Close() // it is abandoned
		}
	}()
	for {
		i := l.take()
		if i == nil {
			select {
			case <-l.wake:
				continue
			case <-l.ctx.Done():
				return
			}
		}
		if w == nil {
			w, err = l.link.Bulk(l.ctx)
		}
		if !i.withdraw() {
			continue // its origin has given it up
		}
		if err != nil {
			w = nil
			i.fail(fmt.Errorf("%w: %w", ErrUnreachable, err))
			continue
		}
		if werr := w.Write(l.ctx, i.message); werr != nil {
			_ = w.Close() // it is broken already
			w = nil
			i.fail(fmt.Errorf("%w: %w", ErrForwardLost, werr))
		}
	}
}
