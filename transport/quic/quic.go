// Package quic is the transport between regions: QUIC with TLS 1.3, in which
// both sides show a certificate of the cluster's authority (package certs). A
// region's identity is the URI name in its certificate; who dials demands the
// region that it wanted, who accepts takes any region of the cluster, and then
// only those that are peers.
package quic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/internal/peering"
)

// The defaults of Config. A dead peer is noticed within five seconds. The window of a stream lets it carry 50 MB/s over a round trip of 80 ms.
const (
	DefaultKeepAlive    = time.Second
	DefaultIdleTimeout  = 4 * time.Second
	DefaultStreamWindow = 4 << 20
)

// Bounds of Config.
const (
	MinStreamWindow = 64 << 10
	MaxStreamWindow = 256 << 20
)

// Config holds the settings of a transport. The zero value of a field stands
// for its default, where there is one.
type Config struct {
	transport.Config

	// Listen is the UDP address to listen on and to dial from, such as
	// "127.0.0.1:7400". Port 0 takes a free one.
	Listen string
	// Conn, if not nil, is used instead of listening on Listen. The transport
	// closes it.
	Conn net.PacketConn
	// Credentials are this region's. They are asked for at every handshake.
	Credentials certs.Source
	// KeepAlive is how often something is sent on an idle connection, and
	// IdleTimeout how long nothing may be heard before the peer counts as dead:
	// it is noticed by the sum of both at the latest. The lesser timeout of both
	// sides holds.
	KeepAlive, IdleTimeout time.Duration
	// StreamWindow is how many bytes may be on their way on a stream or wait for
	// the handler. A peer can make this side hold as much for each stream that it
	// may have open.
	StreamWindow int
}

// Validate returns c with defaults filled in, or says what is wrong with it.
func (c Config) Validate() (Config, error) {
	var err error
	if c.Config, err = c.Config.Validate(); err != nil {
		return c, err
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = max(DefaultIdleTimeout, 4*c.KeepAlive)
	}
	if c.StreamWindow == 0 {
		c.StreamWindow = DefaultStreamWindow
	}
	switch {
	case c.Credentials == nil:
		err = fmt.Errorf("%w: no Credentials", transport.ErrConfig)
	case c.Conn == nil && c.Listen == "":
		err = fmt.Errorf("%w: no address to Listen on", transport.ErrConfig)
	case c.KeepAlive < 0 || c.IdleTimeout < 2*c.KeepAlive:
		err = fmt.Errorf("%w: IdleTimeout must be at least twice KeepAlive, or one lost packet ends a link", transport.ErrConfig)
	case c.StreamWindow < MinStreamWindow || c.StreamWindow > MaxStreamWindow:
		err = fmt.Errorf("%w: StreamWindow must be between %d and %d", transport.ErrConfig, MinStreamWindow, MaxStreamWindow)
	}
	return c, err
}

// New returns the transport of the region that the credentials name. It listens
// at once, and accepts when it is run.
func New(cfg Config) (transport.Transport, error) {
	cfg, err := cfg.Validate()
	if err != nil {
		return nil, err
	}
	own, err := cfg.Credentials.Credentials()
	if err != nil {
		return nil, err
	}
	conn := cfg.Conn
	if conn == nil {
		if conn, err = net.ListenPacket("udp", cfg.Listen); err != nil {
			return nil, fmt.Errorf("listen for peers: %w", err)
		}
	}
	n := &network{
		log:    cfg.Log.With("region", own.Region),
		source: cfg.Credentials,
		conn:   conn,
		config: &quicgo.Config{
			HandshakeIdleTimeout: cfg.DialTimeout,
			MaxIdleTimeout:       cfg.IdleTimeout,
			KeepAlivePeriod:      cfg.KeepAlive,
			// Each stream may fill its window without taking anything from the
			// others, so that one that nobody reads holds up no other.
			InitialStreamReceiveWindow:     uint64(cfg.StreamWindow),
			MaxStreamReceiveWindow:         uint64(cfg.StreamWindow),
			InitialConnectionReceiveWindow: uint64(cfg.StreamWindow) * uint64(cfg.MaxBulk+1),
			MaxConnectionReceiveWindow:     uint64(cfg.StreamWindow) * uint64(cfg.MaxBulk+1),
			MaxIncomingStreams:             -1,
			MaxIncomingUniStreams:          int64(cfg.MaxBulk) + 1, // and the live one
		},
	}
	n.quic = &quicgo.Transport{
		Conn:                conn,
		ConnectionIDLength:  connectionIDLength,
		VerifySourceAddress: n.verifySource,
	}
	// With the same key as before a restart, this side can tell peers at once
	// that it has forgotten their connections.
	if key, ok := own.Derive("stateless reset"); ok {
		n.quic.StatelessResetKey = (*quicgo.StatelessResetKey)(&key)
	}
	if n.listener, err = n.quic.Listen(n.serverTLS(), n.config); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for peers: %w", err), n.quic.Close(), conn.Close())
	}
	tr, err := peering.New(own.Region, n, cfg.Config)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return tr, nil
}

const (
	// connectionIDLength is long enough that packets for a former process are
	// not taken for those of a new connection.
	connectionIDLength = 8
	// freeHandshakes is how many handshakes a second may start before those who
	// dial have to prove their address first, which takes them a round trip.
	freeHandshakes = 50
)

// A network implements peering.Network.
type network struct {
	log      *slog.Logger
	limiter  peering.Limiter
	source   certs.Source
	conn     net.PacketConn
	quic     *quicgo.Transport
	config   *quicgo.Config
	listener *quicgo.Listener
	window   atomic.Int64 // the second in which handshakes are counted
	started  atomic.Int64 // handshakes in it
}

func (n *network) verifySource(net.Addr) bool {
	now := time.Now().Unix()
	if n.window.Swap(now) != now {
		n.started.Store(0)
	}
	return n.started.Add(1) > freeHandshakes
}

func (n *network) Addr() string { return n.conn.LocalAddr().String() }

func (n *network) Close() error {
	err := errors.Join(n.listener.Close(), n.quic.Close())
	if e := n.conn.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func (n *network) Accept(ctx context.Context) (peering.Conn, error) {
	for {
		qc, err := n.listener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		// The certificate was verified in the handshake.
		id, err := certs.IdentityOf(qc.ConnectionState().TLS.PeerCertificates[0])
		if err == nil {
			return newConn(qc, id.Region), nil
		}
		_ = qc.CloseWithError(quicgo.ApplicationErrorCode(peering.CodeProtocol), err.Error())
	}
}

func (n *network) Dial(ctx context.Context, peer, addr string) (peering.Conn, error) {
	to, err := n.resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	refused := make(chan error, 1) // by us
	conf, err := n.clientTLS(peer, refused)
	if err != nil {
		return nil, err
	}
	qc, err := n.quic.Dial(ctx, to, conf, n.config)
	if err == nil {
		return newConn(qc, peer), nil
	}
	select {
	case err = <-refused:
		return nil, err
	default:
		return nil, explain(err)
	}
}

// resolve looks up where to dial. Of several addresses it takes one that the
// socket can reach.
func (n *network) resolve(ctx context.Context, addr string) (*net.UDPAddr, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("peer address: %w", err)
	}
	p, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, fmt.Errorf("peer address %s: %w", addr, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("peer address %s: %w", addr, err)
	}
	local, _ := n.conn.LocalAddr().(*net.UDPAddr)
	for _, ip := range ips {
		ip = ip.Unmap()
		if local == nil || local.IP.IsUnspecified() || ip.Is4() == (local.IP.To4() != nil) {
			return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(p))), nil
		}
	}
	return nil, fmt.Errorf("peer address %s has no address that can be reached from %s", addr, n.conn.LocalAddr())
}

// explain wraps what quic-go says in the errors of package transport.
func explain(err error) error {
	var (
		app   *quicgo.ApplicationError
		proto *quicgo.TransportError
		idle  *quicgo.IdleTimeoutError
		slow  *quicgo.HandshakeTimeoutError
		reset *quicgo.StatelessResetError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &app):
		return &peering.CloseError{Code: peering.Code(app.ErrorCode), Reason: app.ErrorMessage, Remote: app.Remote}
	case errors.As(err, &idle), errors.As(err, &slow):
		return fmt.Errorf("%w: %w", transport.ErrDead, err)
	case errors.As(err, &reset):
		return fmt.Errorf("%w: %w", transport.ErrRestarted, err)
	case errors.As(err, &proto) && proto.ErrorCode.IsCryptoError() && proto.Remote:
		return fmt.Errorf("%w: the peer does not accept this region's certificate, its log says why: %w", transport.ErrRefused, err)
	case errors.As(err, &proto) && proto.ErrorCode.IsCryptoError():
		return fmt.Errorf("%w: %w", transport.ErrIdentity, err)
	case errors.As(err, &proto) && proto.ErrorCode == quicgo.ConnectionRefused:
		return fmt.Errorf("%w: %w", transport.ErrRefused, err)
	default:
		return err
	}
}
