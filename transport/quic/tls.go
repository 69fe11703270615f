package quic

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/wire"
)

// baseTLS is common to both sides. There are no session tickets: every
// connection shows and checks certificates.
func baseTLS(own *certs.Credentials) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{wire.Protocol},
		Certificates:           []tls.Certificate{own.Certificate},
		SessionTicketsDisabled: true,
	}
}

// serverTLS checks who dials. Those who do not belong to the cluster are logged
// here, since nothing else hears of handshakes that fail.
func (n *network) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{wire.Protocol},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			own, err := n.source.Credentials()
			if err != nil {
				return nil, err
			}
			conf := baseTLS(own)
			// A certificate is demanded below, with a better message.
			conf.ClientAuth = tls.RequestClientCert
			conf.VerifyConnection = func(cs tls.ConnectionState) error {
				_, err := identify(own, cs, x509.ExtKeyUsageClientAuth)
				if err != nil {
					n.refused(hello.Conn, err)
				}
				return err
			}
			return conf, nil
		},
	}
}

// refused tells the operator of a peer that was turned away.
func (n *network) refused(conn net.Conn, err error) {
	address, host := "", ""
	if conn != nil {
		address = conn.RemoteAddr().String()
		host, _, _ = net.SplitHostPort(address)
	}
	if s, ok := n.limiter.Allow("refused " + host + kind(err).Error()); ok {
		n.log.Warn("refused a connection", "address", address, "error", err, "suppressed", s)
	}
}

func kind(err error) error {
	for _, k := range []error{certs.ErrNoIdentity, certs.ErrAuthority, certs.ErrExpired, certs.ErrCluster, certs.ErrRegion} {
		if errors.Is(err, k) {
			return k
		}
	}
	return transport.ErrIdentity
}

// clientTLS demands to reach the region peer. If another one answers, refused,
// which has room, gets the reason.
func (n *network) clientTLS(peer string, refused chan<- error) (*tls.Config, error) {
	own, err := n.source.Credentials()
	if err != nil {
		return nil, err
	}
	conf := baseTLS(own)
	conf.ServerName = peer
	// The standard check is for host names. VerifyConnection does all of it but
	// that, and demands the region's identity instead.
	conf.InsecureSkipVerify = true
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		id, err := identify(own, cs, x509.ExtKeyUsageServerAuth)
		if err == nil && id.Region != peer {
			err = fmt.Errorf("%w: %w: wanted region %s, got %s", transport.ErrIdentity, certs.ErrRegion, peer, id.Region)
		}
		if err != nil {
			refused <- err
		}
		return err
	}
	return conf, nil
}

// identify verifies the other side's certificate.
func identify(own *certs.Credentials, cs tls.ConnectionState, part x509.ExtKeyUsage) (certs.Identity, error) {
	id, err := own.Verify(cs.PeerCertificates, time.Now(), part)
	if err == nil && id == own.Identity {
		err = fmt.Errorf("%w: it shows this region's own name, %s; is the address that of this region?", certs.ErrRegion, id)
	}
	if err != nil {
		return id, fmt.Errorf("%w: %w", transport.ErrIdentity, err)
	}
	return id, nil
}
