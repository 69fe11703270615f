package quic_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/wire"
)

// patience bounds every wait.
const patience = 20 * time.Second

// logbook is a log to look into.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// lines returns the lines that contain all of the parts.
func (l *logbook) lines(parts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		ok := true
		for _, p := range parts {
			ok = ok && strings.Contains(line, p)
		}
		if ok {
			found = append(found, line)
		}
	}
	return found
}

// await waits for a line that contains all of the parts.
func (l *logbook) await(t *testing.T, parts ...string) {
	t.Helper()
	await(t, "a log line with "+strings.Join(parts, " and "), func() bool { return len(l.lines(parts...)) > 0 })
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// events is a handler that passes everything on to channels.
type events struct {
	ups   chan transport.Link
	downs chan error
	got   chan message
}

type message struct {
	stream transport.Stream
	m      wire.Message
	at     time.Time
}

func newEvents() *events {
	return &events{make(chan transport.Link, 100), make(chan error, 100), make(chan message, 1<<16)}
}

func (e *events) LinkUp(l transport.Link)              { e.ups <- l }
func (e *events) LinkDown(_ transport.Link, err error) { e.downs <- err }
func (e *events) Receive(_ transport.Link, s transport.Stream, m wire.Message) {
	e.got <- message{s, m, time.Now()}
}

func next[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		panic("unreachable")
	}
}

// run runs a transport until the test ends.
func run(t testing.TB, tr transport.Transport) *events {
	t.Helper()
	e := newEvents()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx, e) }()
	t.Cleanup(func() {
		cancel()
		if err := next(t, "the end of Run", done); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

// settings are quick to dial again.
func settings() transport.Config {
	return transport.Config{BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond, DialTimeout: 2 * time.Second}
}

// dialRaw connects to a region without any of our code but the credentials, to
// misbehave.
func dialRaw(t testing.TB, addr string, c *certs.Credentials, alpn string) (*quicgo.Conn, error) {
	t.Helper()
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{alpn},
		InsecureSkipVerify: true,
	}
	if c != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.Certificate, nil }
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	qc, err := quicgo.DialAddr(ctx, addr, conf, &quicgo.Config{MaxIncomingUniStreams: 100})
	if err == nil {
		t.Cleanup(func() { qc.CloseWithError(0, "") })
	}
	return qc, err
}
