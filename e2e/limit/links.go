package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"
)

// A sender is one QUIC stream to another pipe. What is committed is put into its
// buffer, and written with all that has gathered there.
type sender struct {
	addr string
	mu   sync.Mutex
	buf  []byte
	some chan struct{}
}

func newSender(addr string) *sender { return &sender{addr: addr, some: make(chan struct{}, 1)} }

func (s *sender) send(w *write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(s.buf, byte(w.from))
	s.buf = binary.AppendUvarint(s.buf, w.seq)
	s.buf = binary.AppendUvarint(s.buf, uint64(len(w.key)))
	s.buf = append(s.buf, w.key...)
	s.buf = binary.AppendUvarint(s.buf, uint64(len(w.value)))
	s.buf = append(s.buf, w.value...)
}

func (s *sender) wake() {
	select {
	case s.some <- struct{}{}:
	default:
	}
}

var quicConfig = &quic.Config{MaxIdleTimeout: 30 * time.Second, KeepAlivePeriod: 5 * time.Second}

const protocol = "pipe"

func (s *sender) run(ctx context.Context) error {
	var stream *quic.SendStream
	for stream == nil {
		conn, err := quic.DialAddr(ctx, s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, quicConfig)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.CloseWithError(0, "") })
			stream, err = conn.OpenUniStreamSync(ctx)
		}
		if err != nil && ctx.Err() != nil {
			return nil //nolint:nilerr // told to end before the other one was there
		}
	}
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.some:
		}
		s.mu.Lock()
		buf, s.buf = s.buf, buf[:0]
		s.mu.Unlock()
		if _, err := stream.Write(buf); err != nil {
			return nil //nolint:nilerr // the other one has ended
		}
	}
}

// receive takes in what the others send.
func (p *pipe) receive(ctx context.Context, addr string) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := quic.ListenAddr(addr, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{protocol}}, quicConfig)
	if err != nil {
		return err
	}
	defer l.Close()
	var g errgroup.Group
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return g.Wait()
		}
		context.AfterFunc(ctx, func() { _ = conn.CloseWithError(0, "") })
		g.Go(func() error {
			stream, err := conn.AcceptUniStream(ctx)
			if err != nil {
				return nil //nolint:nilerr // the other one has ended
			}
			return p.take(ctx, bufio.NewReaderSize(stream, 64<<10))
		})
	}
}

func (p *pipe) take(ctx context.Context, r *bufio.Reader) error {
	text := func() []byte {
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return nil
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		if err != nil {
			return nil
		}
		return b
	}
	for {
		from, err := r.ReadByte()
		if err != nil {
			return nil //nolint:nilerr // the end of the other one
		}
		seq, err := binary.ReadUvarint(r)
		if err != nil {
			return errors.New("cut short")
		}
		w := write{from: int(from), seq: seq, key: string(text()), value: text()}
		select {
		case p.writes <- w:
		case <-ctx.Done():
			return nil
		}
	}
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
