package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A lateListener accepts connections that set their deadlines late.
type lateListener struct{ net.Listener }

func (l lateListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newLateConn(c), nil
}

// A lateConn sets deadlines when something is read or written under them, and only
// if the one that is set does not do: net/http changes them eight times for each
// request, and next to none is ever reached.
type lateConn struct {
	net.Conn
	read, write deadline
	// unwatched says that nobody has to learn at once that the client went away. net/http
	// has a goroutine look for that, by reading a byte, as soon as a request's body has
	// arrived; for a quick write its coming and going is 5 % of what the region does.
	unwatched atomic.Bool
}

func newLateConn(c net.Conn) *lateConn {
	return &lateConn{Conn: c, read: deadline{set: c.SetReadDeadline}, write: deadline{set: c.SetWriteDeadline}}
}

func (c *lateConn) SetReadDeadline(t time.Time) error  { return c.read.want(t) }
func (c *lateConn) SetWriteDeadline(t time.Time) error { return c.write.want(t) }

func (c *lateConn) SetDeadline(t time.Time) error {
	return errors.Join(c.read.want(t), c.write.want(t))
}

func (c *lateConn) Read(p []byte) (n int, err error) {
	if len(p) == 1 && c.unwatched.Load() {
		return 0, nil // for net/http: nobody has gone, nothing was sent
	}
	for again := true; again; {
		if err := c.read.begin(); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(p)
		again = c.read.end(err)
	}
	return n, err
}

func (c *lateConn) Write(p []byte) (n int, err error) {
	for again := true; again; {
		if err := c.write.begin(); err != nil {
			return n, err
		}
		var more int
		more, err = c.Conn.Write(p[n:])
		n += more
		again = c.write.end(err)
	}
	return n, err
}

type connKey struct{}

// withConn lets the requests of a connection find it by their context.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*lateConn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// unwatched makes of a handler that writes what is in a body one that goes on if the client
// goes away, where it waits for no other region: soon it finds out by answering.
func unwatched(h handler) handler {
	return func(x *exchange, r *http.Request) error {
		if r.ProtoMajor == 1 && x.isQuick(r) {
			if c, ok := r.Context().Value(connKey{}).(*lateConn); ok {
				c.unwatched.Store(true)
				defer c.unwatched.Store(false)
			}
		}
		return h(x, r)
	}
}

// isQuick reports whether a write of a document waits for no other region, unless its token
// says that this one is behind.
func (x *exchange) isQuick(r *http.Request) bool {
	if r.URL.RawQuery != "" || r.Header["Prefer"] != nil {
		return false
	}
	c, err := x.s.region.Collection(x.param(r, "collection"))
	return err == nil && c.Settings.Acks.IsZero() && len(c.Settings.Bounds) == 0 && len(c.Settings.Homes) == 0 && c.Settings.Regions == nil
}

// A deadline is that of one direction of a connection.
type deadline struct {
	set func(time.Time) error // that of the connection

	mu     sync.Mutex
	wanted time.Time // zero for none
	// isSet is that of the connection. While a call is under way it is not after
	// wanted; if it is before, the call goes on when it has ended it.
	isSet time.Time
	calls int // under way
}

// longAgo is after what net/http takes for a deadline that ends a call at once, and
// before any other.
var longAgo = time.Unix(1<<20, 0)

func isLongAgo(t time.Time) bool { return !t.IsZero() && t.Before(longAgo) }

// want changes the deadline, also of a call that is under way.
func (d *deadline) want(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if d.calls == 0 {
		return nil
	}
	return d.settle()
}

// settle sets the connection's deadline unless the one that is set does.
func (d *deadline) settle() error {
	if !isLongAgo(d.isSet) && (d.wanted.IsZero() || !d.isSet.IsZero() && !d.wanted.Before(d.isSet)) {
		return nil
	}
	d.isSet = d.wanted
	return d.set(d.wanted)
}

// begin comes before a call of the connection.
func (d *deadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if isLongAgo(d.wanted) {
		return os.ErrDeadlineExceeded
	}
	if err := d.settle(); err != nil {
		return err
	}
	d.calls++
	return nil
}

// end comes after it. It reports whether to call again, as it was ended by a
// deadline that is not the one that is wanted by now.
func (d *deadline) end(err error) (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls--
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || d.isSet.Equal(d.wanted) {
		return false
	}
	d.isSet = time.Unix(0, 0) // it is over
	return true
}
