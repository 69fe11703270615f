package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts how often deadlines are set.
type counted struct {
	net.Conn
	sets int
}

func (c *counted) SetReadDeadline(t time.Time) error {
	c.sets++
	return c.Conn.SetReadDeadline(t)
}

func (c *counted) SetWriteDeadline(t time.Time) error {
	c.sets++
	return c.Conn.SetWriteDeadline(t)
}

// atOnce is how net/http ends a call that is under way.
var atOnce = time.Unix(1, 0)

// A change of a deadline, so long after the beginning.
type moved struct{ at, to time.Duration }

// A call ends by the last deadline that was asked for, to the moment, whatever was
// asked for before.
func TestReadsAndWritesEndByTheirDeadline(t *testing.T) {
	const never = -1 // no deadline
	for name, test := range map[string]struct {
		before time.Duration // what is asked for before the call
		moves  []moved
		ends   time.Duration // never: by what the other side does
	}{
		"one":               {3 * time.Second, nil, 3 * time.Second},
		"in the past":       {-time.Second, nil, 0},
		"later":             {time.Second, []moved{{500 * time.Millisecond, 4 * time.Second}}, 4 * time.Second},
		"later twice":       {time.Second, []moved{{0, 3 * time.Second}, {2 * time.Second, 5 * time.Second}}, 5 * time.Second},
		"sooner":            {8 * time.Second, []moved{{time.Second, 2 * time.Second}}, 2 * time.Second},
		"later and sooner":  {time.Second, []moved{{0, 9 * time.Second}, {3 * time.Second, 4 * time.Second}}, 4 * time.Second},
		"none, then one":    {never, []moved{{time.Second, 2 * time.Second}}, 2 * time.Second},
		"one, then none":    {time.Second, []moved{{500 * time.Millisecond, never}}, never},
		"into the past":     {8 * time.Second, []moved{{time.Second, -time.Second}}, time.Second},
		"none in the end":   {time.Second, []moved{{0, 2 * time.Second}, {500 * time.Millisecond, never}}, never},
		"there was another": {2 * time.Hour, []moved{{time.Hour, time.Hour + time.Second}}, time.Hour + time.Second},
	} {
		for _, write := range []bool{false, true} {
			direction := map[bool]string{false: "/read", true: "/write"}[write]
			t.Run(name+direction, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					here, there := net.Pipe()
					defer there.Close()
					c := newLateConn(here)
					start := time.Now()
					set := func(d time.Duration) {
						at := start.Add(d)
						if d == never {
							at = time.Time{}
						}
						f := c.SetReadDeadline
						if write {
							f = c.SetWriteDeadline
						}
						if err := f(at); err != nil {
							t.Error(err)
						}
					}
					set(test.before)
					var other sync.WaitGroup
					defer other.Wait()
					defer c.Close()
					other.Go(func() {
						for _, m := range test.moves {
							time.Sleep(time.Until(start.Add(m.at)))
							synctest.Wait()
							set(m.to)
						}
						time.Sleep(time.Until(start.Add(24 * time.Hour)))
						if write {
							_, _ = io.ReadFull(there, make([]byte, 4))
						} else {
							_, _ = there.Write([]byte("late"))
						}
					})
					f := c.Read
					if write {
						f = c.Write
					}
					n, err := f(make([]byte, 4))
					took := time.Since(start)
					if test.ends == never {
						if n != 4 || err != nil || took != 24*time.Hour {
							t.Errorf("%d bytes, %v, after %v", n, err, took)
						}
						return
					}
					if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || took != test.ends {
						t.Errorf("%d bytes, %v, after %v; it should end after %v", n, err, took, test.ends)
					}
				})
			})
		}
	}
}

// A deadline that is not the one that is wanted any more ends no write in the middle.
func TestWriteGoesOnAfterADeadlineThatWasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		c := newLateConn(here)
		defer c.Close()
		got := make(chan string, 1)
		go func() {
			first, rest := make([]byte, 4), make([]byte, 6)
			_, _ = io.ReadFull(there, first)
			time.Sleep(5 * time.Second)
			_, _ = io.ReadFull(there, rest)
			got <- string(first) + string(rest)
		}()
		_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		time.AfterFunc(time.Second, func() { _ = c.SetWriteDeadline(time.Now().Add(time.Minute)) })
		n, err := c.Write([]byte("0123456789"))
		if text := <-got; n != 10 || err != nil || text != "0123456789" {
			t.Errorf("%d bytes, %v; there arrived %q", n, err, text)
		}
	})
}

// What ended a call at once does not end the next one.
func TestReadAfterOneThatWasEndedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		c := newLateConn(here)
		defer c.Close()
		for _, under := range []time.Duration{time.Hour, 0} {
			time.AfterFunc(time.Second, func() { _ = c.SetDeadline(atOnce) })
			if under == 0 {
				_ = c.SetReadDeadline(time.Time{})
			} else {
				_ = c.SetReadDeadline(time.Now().Add(under))
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d bytes, %v", n, err)
			}
			if n, err := c.Write(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d bytes written, %v", n, err)
			}
			_ = c.SetDeadline(time.Time{})
			go func() {
				time.Sleep(time.Hour)
				_, _ = there.Write([]byte("x"))
			}()
			if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		}
	})
}

// What net/http asks for in the course of a request sets nothing, once there are
// deadlines that come before those that it wants.
func TestDeadlinesOfQuickRequestsAreNotSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		under := &counted{Conn: here}
		c := newLateConn(under)
		defer c.Close()
		go func() {
			for {
				if _, err := there.Write([]byte("GET ")); err != nil {
					return
				}
				if _, err := there.Read(make([]byte, 4)); err != nil {
					return
				}
			}
		}()
		const requests = 100
		for range requests {
			now := time.Now()
			for _, err := range []error{
				c.SetReadDeadline(now.Add(idleTimeout)), read4(c), c.SetReadDeadline(now.Add(readHeaderTimeout)),
				c.SetReadDeadline(now.Add(bodyTimeout)), c.SetWriteDeadline(now.Add(bodyTimeout)),
				write4(c), c.SetReadDeadline(atOnce), c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Millisecond)
		}
		if under.sets != 2 {
			t.Errorf("%d requests set %d deadlines, not one for reads and one for writes", requests, under.sets)
		}
	})
}

func read4(c net.Conn) error {
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

func write4(c net.Conn) error {
	_, err := c.Write(make([]byte, 4))
	return err
}

// A pipeListener accepts the other ends of pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// Whoever sends too slowly, or nothing, is cut off to the moment, also on a connection
// that has served requests whose deadlines were others.
func TestSlowClientsAreCutOff(t *testing.T) {
	const request = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, test := range map[string]struct {
		sends string
		after time.Duration
	}{
		"nothing":       {"", idleTimeout},
		"half a header": {"GET /livez HTTP/1.1\r\nHo", readHeaderTimeout},
		"half a body":   {"PUT " + aDoc + " HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", bodyTimeout + MaxWait + DefaultTimeout},
		"a method":      {request[:4], readHeaderTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				s, err := NewServer(Config{Region: &broken{}, Listener: l})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var run sync.WaitGroup
				run.Go(func() { _ = s.Run(ctx) })
				defer run.Wait()
				defer cancel()
				here, there := net.Pipe()
				defer here.Close()
				l.conns <- there
				from := bufio.NewReader(here)
				for range 3 {
					time.Sleep(time.Second)
					if _, err := io.WriteString(here, request); err != nil {
						t.Fatal(err)
					}
					res, err := http.ReadResponse(from, nil)
					if err != nil || res.StatusCode != http.StatusOK {
						t.Fatal(res, err)
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				synctest.Wait()
				start := time.Now()
				if _, err := io.WriteString(here, test.sends); err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, from) // to the end
				if took := time.Since(start); took != test.after {
					t.Errorf("cut off after %v, not %v", took, test.after)
				}
			})
		})
	}
}
