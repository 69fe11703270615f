// Package certs is the cluster authority: it makes the certificates by which
// regions know each other, and reads and checks them.
//
// A region's identity is the URI name meridian://CLUSTER/REGION in its
// certificate, which must be signed by the cluster's authority. Host names and
// addresses in it play no part. One certificate serves both directions: a
// connection is authenticated at both ends.
package certs

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Scheme is that of an identity's URI.
const Scheme = "meridian"

// Errors of checking and making certificates.
var (
	// ErrName: not a name that a cluster or a region can have.
	ErrName = errors.New("bad name")
	// ErrNoIdentity: a certificate without a usable identity.
	ErrNoIdentity = errors.New("certificate names no region of a Meridian cluster")
	// ErrAuthority: a certificate that the cluster's authority has not signed.
	ErrAuthority = errors.New("certificate is not from this cluster's authority")
	// ErrExpired: a certificate out of its time.
	ErrExpired = errors.New("certificate is expired or not valid yet")
	// ErrCluster: a certificate of another cluster.
	ErrCluster = errors.New("certificate is of another cluster")
	// ErrRegion: a certificate of another region.
	ErrRegion = errors.New("certificate is of another region")
	// ErrMissing: a file that is not there; the text says how to make it.
	ErrMissing = errors.New("file is missing")
	// ErrExists: a file that is there and is not overwritten.
	ErrExists = errors.New("file exists")
	// ErrFile: a file with the wrong content.
	ErrFile = errors.New("unusable file")
)

// MaxName is the greatest length of the name of a cluster or a region.
const MaxName = 63

// CheckName says whether s can name a cluster or a region: lower-case letters,
// digits and inner hyphens, as in a host name. The error wraps ErrName.
func CheckName(s string) error {
	ok := s != "" && len(s) <= MaxName && s[0] != '-' && s[len(s)-1] != '-'
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fmt.Errorf("%w: %q; use at most %d lower-case letters, digits and inner hyphens, such as \"eu-west\"", ErrName, s, MaxName)
	}
	return nil
}

// An Identity is the name of a region in a cluster.
type Identity struct{ Cluster, Region string }

// URI returns the identity's URI.
func (id Identity) URI() *url.URL {
	return &url.URL{Scheme: Scheme, Host: id.Cluster, Path: "/" + id.Region}
}

// String returns the identity's URI.
func (id Identity) String() string { return id.URI().String() }

// IdentityOf returns the identity in a certificate, unchecked. There must be
// exactly one. The error wraps ErrNoIdentity.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	var id Identity
	found := 0
	for _, u := range c.URIs {
		if u.Scheme != Scheme {
			continue
		}
		found++
		if len(u.Path) > 0 {
			id = Identity{Cluster: u.Host, Region: u.Path[1:]}
		}
		if CheckName(id.Cluster) != nil || CheckName(id.Region) != nil || id.String() != u.String() {
			return Identity{}, fmt.Errorf("%w: %s is not of the form %s://CLUSTER/REGION", ErrNoIdentity, u, Scheme)
		}
	}
	if found != 1 {
		return Identity{}, fmt.Errorf("%w: it has %d names of the form %s://CLUSTER/REGION, not one", ErrNoIdentity, found, Scheme)
	}
	return id, nil
}

// Credentials are what a region shows to others, and what it checks them by.
type Credentials struct {
	Identity
	// Certificate is the region's, with its key.
	Certificate tls.Certificate
	// Roots hold the authority; during a change of authorities both.
	Roots *x509.CertPool
}

// A Source gives the credentials that are valid now. It is asked at every
// handshake, so that renewed certificates are taken up without a restart.
type Source interface {
	Credentials() (*Credentials, error)
}

// Credentials implements Source: they stay the same.
func (c *Credentials) Credentials() (*Credentials, error) { return c, nil }

// Verify checks the certificates that a peer has shown, its own first, and
// returns who it is: some region of the same cluster, signed by the authority,
// at the time now, and allowed to take the part that usage names.
func (c *Credentials) Verify(shown []*x509.Certificate, now time.Time, usage x509.ExtKeyUsage) (Identity, error) {
	if len(shown) == 0 {
		return Identity{}, fmt.Errorf("%w: none was shown", ErrNoIdentity)
	}
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{
		Roots: c.Roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	id, idErr := IdentityOf(shown[0])
	if err != nil {
		kind := ErrAuthority
		if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			kind = ErrExpired
		}
		return Identity{}, fmt.Errorf("%w: the certificate shown says %s: %w", kind, claim(shown[0], id, idErr), err)
	}
	if idErr != nil {
		return Identity{}, idErr
	}
	if id.Cluster != c.Cluster {
		return Identity{}, fmt.Errorf("%w: the peer is %s, this is %s", ErrCluster, id, c.Identity)
	}
	return id, nil
}

// claim describes who a certificate that is not to be trusted says that it is.
func claim(c *x509.Certificate, id Identity, err error) string {
	if err != nil {
		return fmt.Sprintf("%q", c.Subject.CommonName)
	}
	return id.String()
}

// Derive returns 32 secret bytes for a purpose, which stay the same as long as
// the certificate's key does. It reports false if the key cannot be exported.
func (c *Credentials) Derive(purpose string) (secret [32]byte, ok bool) {
	key, err := x509.MarshalPKCS8PrivateKey(c.Certificate.PrivateKey)
	if err != nil {
		return secret, false
	}
	b, err := hkdf.Key(sha256.New, key, nil, "meridian "+purpose, len(secret))
	if err != nil {
		return secret, false
	}
	copy(secret[:], b)
	return secret, true
}

// leaf returns the parsed certificate.
func leaf(c tls.Certificate) (*x509.Certificate, error) {
	if c.Leaf != nil {
		return c.Leaf, nil
	}
	return x509.ParseCertificate(c.Certificate[0])
}
