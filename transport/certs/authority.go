package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Validity says how long certificates are good for. A zero field stands for its
// default.
type Validity struct {
	// Authority is the authority's, Region a region's.
	Authority, Region time.Duration
}

// The defaults of Validity.
const (
	DefaultAuthorityValidity = 10 * 365 * 24 * time.Hour
	DefaultRegionValidity    = 365 * 24 * time.Hour
)

// backdate lets regions whose clocks are behind take a new certificate at once.
const backdate = time.Hour

func (v Validity) defaults() (Validity, error) {
	if v.Authority == 0 {
		v.Authority = DefaultAuthorityValidity
	}
	if v.Region == 0 {
		v.Region = DefaultRegionValidity
	}
	if v.Authority < 0 || v.Region < 0 {
		return v, fmt.Errorf("%w: a validity must be positive", ErrFile)
	}
	return v, nil
}

// An Authority signs the certificates of a cluster's regions.
type Authority struct {
	Cluster  string
	cert     *x509.Certificate
	key      crypto.Signer
	validity Validity
}

// NewAuthority makes an authority that lives in memory, for demonstrations and
// tests. Its clock is time.Now.
func NewAuthority(cluster string, v Validity) (*Authority, error) {
	if err := CheckName(cluster); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	v, err := v.defaults()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Meridian authority of " + cluster, Organization: []string{"Meridian"}},
		URIs:                  []*url.URL{{Scheme: Scheme, Host: cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(v.Authority),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	return &Authority{Cluster: cluster, cert: cert, key: key, validity: v}, nil
}

// Issue makes the credentials of a region. The hosts, names or addresses, are
// written into the certificate for other tools to check; Meridian does not.
func (a *Authority) Issue(region string, hosts ...string) (*Credentials, error) {
	if err := CheckName(region); err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id := Identity{Cluster: a.Cluster, Region: region}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: region, Organization: []string{"Meridian " + a.Cluster}},
		URIs:         []*url.URL{id.URI()},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(a.validity.Region),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", id, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", id, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &Credentials{
		Identity:    id,
		Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert},
		Roots:       roots,
	}, nil
}

// serial returns a random serial number of 127 bits.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
