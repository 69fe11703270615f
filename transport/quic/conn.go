package quic

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/meridiandb/meridian/transport/internal/peering"
)

// A conn implements peering.Conn.
type conn struct {
	quic *quicgo.Conn
	peer string
}

func newConn(qc *quicgo.Conn, peer string) *conn { return &conn{qc, peer} }

func (c *conn) Peer() string          { return c.peer }
func (c *conn) RemoteAddr() string    { return c.quic.RemoteAddr().String() }
func (c *conn) Done() <-chan struct{} { return c.quic.Context().Done() }
func (c *conn) Err() error            { return explain(context.Cause(c.quic.Context())) }
func (c *conn) RTT() time.Duration    { return c.quic.ConnectionStats().SmoothedRTT }

func (c *conn) Traffic() (in, out uint64) {
	st := c.quic.ConnectionStats()
	return st.BytesReceived, st.BytesSent
}

func (c *conn) Close(code peering.Code, reason string) {
	reason = strings.ToValidUTF8(reason[:min(len(reason), peering.MaxReason)], "")
	_ = c.quic.CloseWithError(quicgo.ApplicationErrorCode(code), reason) // nil
}

// Urgencies of streams, as in RFC 9218: less is more urgent, 3 is usual.
const (
	urgencyLive = 1
	urgencyBulk = 4
)

func (c *conn) Open(ctx context.Context, urgent bool) (peering.SendStream, error) {
	s, err := c.quic.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	if urgent {
		s.SetPriority(urgencyLive, false)
	} else {
		s.SetPriority(urgencyBulk, true)
	}
	return sendStream{s}, nil
}

func (c *conn) Accept(ctx context.Context) (io.Reader, error) {
	s, err := c.quic.AcceptUniStream(ctx)
	if err != nil {
		return nil, streamError(err)
	}
	return receiveStream{s}, nil
}

// streamError tells the end of a stream from the end of the connection.
func streamError(err error) error {
	var reset *quicgo.StreamError
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case errors.As(err, &reset):
		return peering.ErrStreamReset
	default:
		return explain(err)
	}
}

type sendStream struct{ s *quicgo.SendStream }

func (s sendStream) Write(b []byte) (int, error) {
	n, err := s.s.Write(b)
	return n, streamError(err)
}

func (s sendStream) Close() error { return s.s.Close() }
func (s sendStream) Reset()       { s.s.CancelWrite(0) }

type receiveStream struct{ s *quicgo.ReceiveStream }

func (r receiveStream) Read(b []byte) (int, error) {
	n, err := r.s.Read(b)
	return n, streamError(err)
}
