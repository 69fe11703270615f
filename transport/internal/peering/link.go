package peering

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// readBuffer is the size of the read buffer of a stream.
const readBuffer = 64 << 10

// A candidate is a connection that may become a link: introduced by the peer,
// and if this side dialled, agreed to by it.
type candidate struct {
	conn   Conn
	in     io.Reader    // the live stream, after its preface
	out    SendStream   // the live stream, after its preface; nil if this side accepted
	remote wire.Preface // the peer's
}

func (c *candidate) refuse(code Code, reason string) { c.conn.Close(code, reason) }

// A link implements transport.Link. Its run goroutine owns its life; three
// others write the live stream, read it, and accept bulk streams, each of which
// has a goroutine of its own.
type link struct {
	candidate
	cfg     transport.Config
	log     *slog.Logger
	comp    *wire.Compressor
	handler transport.Handler
	dialed  bool
	queue   *queue
	since   atomic.Int64 // Unix nanoseconds, 0 before it is up

	mu     sync.Mutex
	reason error // why this side ended it

	bytesIn, bytesOut       atomic.Uint64
	messagesIn, messagesOut atomic.Uint64
	unknown                 atomic.Uint64
}

var _ transport.Link = (*link)(nil)

// run keeps the link until its connection ends. own introduces this side if it
// accepted the connection.
func (l *link) run(own wire.Preface) (up bool, reason error) {
	defer l.queue.close()
	if err := l.welcome(own); err != nil {
		l.fail(CodeClosed, err)
		return false, l.ended()
	}
	l.since.Store(time.Now().UnixNano())
	l.log.Info("link up", "address", l.conn.RemoteAddr(), "dialed", l.dialed)
	l.handler.LinkUp(l)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(l.writeLive)
	wg.Go(func() { l.read(transport.Live, l.in) })
	wg.Go(func() { l.acceptBulk(ctx, &wg) })
	<-l.conn.Done()
	l.queue.close()
	cancel()
	wg.Wait()

	reason = l.ended()
	l.log.Info("link down", "reason", reason)
	l.handler.LinkDown(l, reason)
	return true, reason
}

// welcome tells the peer who dialled that the connection is the link.
func (l *link) welcome(own wire.Preface) error {
	if l.out != nil {
		return nil
	}
	out, err := l.conn.Open(context.Background(), true)
	if err != nil {
		return err
	}
	l.out = out
	_, err = out.Write(own.Append([]byte{byte(wire.StreamLive)}))
	return err
}

// fail ends the link for a reason found on this side.
func (l *link) fail(code Code, err error) {
	l.mu.Lock()
	if l.reason == nil {
		l.reason = err
	}
	l.mu.Unlock()
	l.conn.Close(code, err.Error())
}

// ended returns why the link has ended, once its connection has.
func (l *link) ended() error {
	l.mu.Lock()
	reason := l.reason
	l.mu.Unlock()
	err := l.conn.Err()
	if remote := (*CloseError)(nil); reason == nil || errors.As(err, &remote) && remote.Remote {
		return err
	}
	return reason
}

// writeLive writes what is queued. Whatever is ready goes out at once, as much
// as makes a batch in one write; it never waits for more.
func (l *link) writeLive() {
	enc := wire.NewEncoder(l.comp, l.cfg.CompressAbove)
	var batch []wire.Message
	var buf []byte
	for {
		if batch = l.queue.take(batch[:0], l.cfg.BatchBytes); len(batch) == 0 {
			select {
			case <-l.queue.wake:
				continue
			case <-l.conn.Done():
				return
			}
		}
		buf = enc.AppendFrames(buf[:0], batch...)
		if _, err := l.out.Write(buf); err != nil {
			l.conn.Close(CodeClosed, err.Error()) // if it has not ended already
			return
		}
		l.sent(len(buf), len(batch))
		clear(batch)
		if cap(buf) > 2*l.cfg.BatchBytes+readBuffer {
			buf = nil
		}
	}
}

func (l *link) sent(bytes, messages int) {
	l.bytesOut.Add(uint64(bytes))
	l.messagesOut.Add(uint64(messages))
}

// acceptBulk gives each bulk stream of the peer a reader. How many there are at
// once is bounded by the network.
func (l *link) acceptBulk(ctx context.Context, wg *sync.WaitGroup) {
	for s := transport.Live + 1; ; s++ {
		in, err := l.conn.Accept(ctx)
		if err != nil {
			l.conn.Close(CodeClosed, err.Error()) // if it has not ended already
			return
		}
		wg.Go(func() {
			var t [1]byte
			if _, err := io.ReadFull(in, t[:]); err != nil {
				return // given up before it began, or the link is over
			}
			if wire.StreamType(t[0]) != wire.StreamBulk {
				l.fail(CodeProtocol, fmt.Errorf("%w: stream of type %d", transport.ErrProtocol, t[0]))
				return
			}
			l.read(s, in)
		})
	}
}

// read hands the messages of a stream to the handler until it ends.
func (l *link) read(s transport.Stream, in io.Reader) {
	r := bufio.NewReaderSize(in, readBuffer)
	for {
		body, size, err := l.comp.ReadFrame(r)
		l.bytesIn.Add(uint64(size))
		if err == nil {
			err = l.receive(s, body)
		}
		bulk, reset := s != transport.Live, errors.Is(err, ErrStreamReset)
		switch {
		case err == nil:
			continue
		case bulk && (errors.Is(err, io.EOF) || reset):
		case errors.Is(err, wire.ErrCorrupt), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), reset:
			err = fmt.Errorf("%w: %w", transport.ErrProtocol, err)
			l.log.Warn("peer sends what makes no sense, its link is closed", "stream", uint64(s), "error", err)
			l.fail(CodeProtocol, err)
		default:
			l.conn.Close(CodeClosed, err.Error()) // if it has not ended already
		}
		return
	}
}

func (l *link) receive(s transport.Stream, body []byte) error {
	for m, err := range wire.Messages(body) {
		switch {
		case err == nil:
			l.messagesIn.Add(1)
			l.handler.Receive(l, s, m)
		case errors.Is(err, wire.ErrUnknownKind):
			if l.unknown.Add(1) == 1 {
				l.log.Info("peer sends messages that this version does not know, they are passed over", "error", err)
			}
		default:
			return err
		}
	}
	return nil
}

func (l *link) Peer() string { return l.conn.Peer() }

func (l *link) Send(m wire.Message) bool {
	if err := wire.Check(m); err != nil {
		l.log.Warn("message cannot be sent", "error", err)
		l.queue.refuse()
		return false
	}
	return l.queue.push(m)
}

func (l *link) Close(reason error) {
	if reason == nil {
		reason = transport.ErrClosed
	} else if !errors.Is(reason, transport.ErrClosed) {
		reason = fmt.Errorf("%w: %w", transport.ErrClosed, reason)
	}
	code := CodeClosed
	if errors.Is(reason, transport.ErrNotPeer) {
		code = CodeNotPeer
	}
	l.fail(code, reason)
}

func (l *link) Stats() transport.LinkStats {
	st := transport.LinkStats{
		Dialed:      l.dialed,
		RemoteAddr:  l.conn.RemoteAddr(),
		RTT:         l.conn.RTT(),
		BytesIn:     l.bytesIn.Load(),
		BytesOut:    l.bytesOut.Load(),
		MessagesIn:  l.messagesIn.Load(),
		MessagesOut: l.messagesOut.Load(),
		Unknown:     l.unknown.Load(),
	}
	if ns := l.since.Load(); ns != 0 {
		st.Since = time.Unix(0, ns)
	}
	st.QueuedBytes, st.Dropped = l.queue.stats()
	st.WireIn, st.WireOut = l.conn.Traffic()
	return st
}

func (l *link) Bulk(ctx context.Context) (transport.BulkWriter, error) {
	out, err := l.conn.Open(ctx, false)
	if err != nil {
		if l.over() {
			err = l.ended()
		}
		return nil, fmt.Errorf("open a bulk stream to %s: %w", l.Peer(), err)
	}
	return &bulk{
		link: l, out: out,
		enc: wire.NewEncoder(l.comp, l.cfg.CompressAbove),
		buf: []byte{byte(wire.StreamBulk)},
	}, nil
}

// bulk implements transport.BulkWriter.
type bulk struct {
	link   *link
	out    SendStream
	enc    *wire.Encoder
	buf    []byte // starts with what was not written yet: the type of the stream
	err    error
	closed bool
}

func (b *bulk) Write(ctx context.Context, m wire.Message) error {
	if b.err != nil {
		return b.err
	}
	if b.closed {
		return fmt.Errorf("write to a closed bulk stream: %w", transport.ErrClosed)
	}
	if err := wire.Check(m); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return b.dead(err)
	}
	b.buf = b.enc.AppendFrame(b.buf, m)
	stop := context.AfterFunc(ctx, b.out.Reset)
	_, err := b.out.Write(b.buf)
	if !stop() {
		return b.dead(context.Cause(ctx))
	}
	if err != nil {
		if b.link.over() {
			err = b.link.ended()
		}
		return b.dead(err)
	}
	b.link.sent(len(b.buf), 1)
	if b.buf = b.buf[:0]; cap(b.buf) > 4*b.link.cfg.BatchBytes {
		b.buf = nil
	}
	return nil
}

func (b *bulk) dead(err error) error {
	b.err = fmt.Errorf("bulk stream to %s: %w", b.link.Peer(), err)
	b.out.Reset()
	return b.err
}

func (b *bulk) Close() error {
	over := b.closed || b.err != nil
	b.closed = true
	if over {
		return nil
	}
	if len(b.buf) > 0 { // nothing was written, so the peer knows of no stream
		b.out.Reset()
		return nil
	}
	return b.out.Close()
}
