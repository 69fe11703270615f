package memnet

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/meridiandb/meridian/transport/internal/peering"
)

// A pipe is a stream from one end of a connection to the other.
type pipe struct {
	from *conn

	mu      sync.Mutex
	cond    *sync.Cond
	begun   bool // the other side has been told
	chunks  []chunk
	size    int       // of all chunks
	lastDue time.Time // of the last chunk
	done    bool      // the reader has seen the end
	reset   bool
	// Why the connection has ended at the writing and at the reading end.
	writeErr, readErr error
}

// A chunk is some bytes, or the end of the stream, that arrive at a time.
type chunk struct {
	data []byte
	end  error
	due  time.Time
}

var _ peering.SendStream = (*pipe)(nil)

func newPipe(from *conn) *pipe {
	p := &pipe{from: from}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond.Broadcast()
}

// fail makes writing or reading return err, as its end of the connection is over.
func (p *pipe) fail(end *conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if end == p.from {
		p.writeErr = err
	} else {
		p.readErr = err
	}
	p.cond.Broadcast()
}

// send puts a chunk on its way. The lock is held.
func (p *pipe) send(c chunk) {
	if !p.begun {
		p.begun = true
		if err := p.from.other.add(p); err != nil {
			p.readErr = err // nobody will read it, and this side will hear why
		} else {
			p.from.other.incoming <- p
		}
	}
	c.due = p.from.net.arrival(p.from.self, p.from.peer)
	if c.due.Before(p.lastDue) {
		c.due = p.lastDue
	}
	p.lastDue = c.due
	p.chunks = append(p.chunks, c)
	p.size += len(c.data)
	p.cond.Broadcast()
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := 0; ; {
		switch {
		case p.writeErr != nil:
			return n, p.writeErr
		case p.reset:
			return n, peering.ErrStreamReset
		case n == len(b):
			return n, nil
		}
		k := min(p.from.net.opts.Window-p.size, len(b)-n)
		if k <= 0 {
			p.cond.Wait()
			continue
		}
		p.send(chunk{data: bytes.Clone(b[n : n+k])})
		n += k
	}
}

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writeErr != nil || p.reset {
		return p.writeErr
	}
	p.send(chunk{end: io.EOF})
	return nil
}

func (p *pipe) Reset() {
	p.mu.Lock()
	if p.writeErr != nil || p.reset {
		p.mu.Unlock()
		return
	}
	p.reset = true
	begun := p.begun
	if begun {
		p.chunks, p.size = nil, 0
		p.send(chunk{end: peering.ErrStreamReset})
	}
	p.cond.Broadcast()
	p.mu.Unlock()
	if !begun {
		p.release()
	}
}

// release gives the place of the stream free for another one.
func (p *pipe) release() {
	p.from.remove(p)
	p.from.other.remove(p)
	<-p.from.opening
}

// A reader is the reading end of a pipe.
type reader struct{ p *pipe }

func (r reader) Read(b []byte) (int, error) {
	n, over, err := r.p.read(b)
	if over {
		r.p.release()
	}
	return n, err
}

// read waits for the first chunk to arrive and takes what fits. It says once
// that the stream is over.
func (p *pipe) read(b []byte) (n int, over bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.readErr != nil {
			return 0, false, p.readErr
		}
		if len(p.chunks) == 0 {
			p.cond.Wait()
			continue
		}
		c := &p.chunks[0]
		ok, at := p.from.net.ready(p.from.self, p.from.peer, c.due)
		if !ok {
			var t *time.Timer
			if !at.IsZero() {
				t = time.AfterFunc(time.Until(at), p.wake)
			}
			p.cond.Wait()
			if t != nil {
				t.Stop()
			}
			continue
		}
		if c.end != nil {
			over = !p.done
			p.done = true
			return 0, over, c.end
		}
		n = copy(b, c.data)
		if c.data = c.data[n:]; len(c.data) == 0 {
			p.chunks = p.chunks[1:]
		}
		p.size -= n
		p.cond.Broadcast()
		return n, false, nil
	}
}
