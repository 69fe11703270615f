package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files of a folder: the authority's, and for each region R the files R.crt
// and R.key. Only the authority's owner needs ca.key; a region needs ca.crt and
// its own two files.
const (
	AuthorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
	certSuffix    = ".crt"
	keySuffix     = ".key"
	authorityName = "ca"
)

const (
	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
)

const (
	folderMode = 0o700
	certMode   = 0o644
	keyMode    = 0o600
)

func initHint(dir string) string {
	return fmt.Sprintf("make it with: meridian certs init --dir %s --cluster NAME", dir)
}

func issueHint(dir, region string) string {
	return fmt.Sprintf("make it with: meridian certs issue --dir %s --region %s [--host HOST]…", dir, region)
}

// InitAuthority makes the authority of a cluster and writes it to dir. It does
// not touch files that are there.
func InitAuthority(dir, cluster string, v Validity) error {
	a, err := NewAuthority(cluster, v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	return writePair(dir, authorityName, a.cert.Raw, a.key,
		"a cluster has one authority, and regions trust only what it has signed; use another folder, or remove it to start a new cluster")
}

// Issue makes the certificate of a region with the authority in dir, and writes
// it there. It does not touch files that are there.
func Issue(dir, region string, hosts []string, v Validity) error {
	if region == authorityName {
		return fmt.Errorf("%w: %q is the authority's own", ErrName, region)
	}
	a, err := openAuthority(dir, v)
	if err != nil {
		return err
	}
	c, err := a.Issue(region, hosts...)
	if err != nil {
		return err
	}
	return writePair(dir, region, c.Certificate.Certificate[0], c.Certificate.PrivateKey,
		"to renew it, move both files away first; a running region takes up the new ones by itself")
}

func openAuthority(dir string, v Validity) (*Authority, error) {
	v, err := v.defaults()
	if err != nil {
		return nil, err
	}
	pair, err := readPair(filepath.Join(dir, AuthorityCert), filepath.Join(dir, AuthorityKey), initHint(dir))
	if err != nil {
		return nil, err
	}
	cert := pair.Leaf
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Scheme != Scheme {
		return nil, fmt.Errorf("%w: %s is not the authority of a Meridian cluster; %s", ErrFile, filepath.Join(dir, AuthorityCert), initHint(dir))
	}
	return &Authority{Cluster: cert.URIs[0].Host, cert: cert, key: key, validity: v}, nil
}

// writePair writes a certificate and its key, or neither.
func writePair(dir, name string, cert []byte, key any, hint string) (err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyPath, certPath := filepath.Join(dir, name+keySuffix), filepath.Join(dir, name+certSuffix)
	if _, err := os.Lstat(certPath); err == nil {
		return fmt.Errorf("%w: %s; %s", ErrExists, certPath, hint)
	}
	if err := writeNew(keyPath, &pem.Block{Type: pemKey, Bytes: der}, keyMode, hint); err != nil {
		return err
	}
	if err := writeNew(certPath, &pem.Block{Type: pemCert, Bytes: cert}, certMode, hint); err != nil {
		return errors.Join(err, os.Remove(keyPath))
	}
	return nil
}

func writeNew(path string, block *pem.Block, mode fs.FileMode, hint string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s; %s", ErrExists, path, hint)
	}
	if err != nil {
		return err
	}
	err = pem.Encode(f, block)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func readFile(path, hint string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s; %s", ErrMissing, path, hint)
	}
	return b, err
}

func readPair(certPath, keyPath, hint string) (tls.Certificate, error) {
	cert, err := readFile(certPath, hint)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readFile(keyPath, hint)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%w: %s and %s: %w", ErrFile, certPath, keyPath, err)
	}
	if pair.Leaf, err = leaf(pair); err != nil {
		return tls.Certificate{}, fmt.Errorf("%w: %s: %w", ErrFile, certPath, err)
	}
	return pair, nil
}

// A Folder is a Source that reads a region's files, and reads them again when
// they have changed. While they cannot be read it keeps to what it had.
type Folder struct {
	dir, region string
	log         *slog.Logger

	mu      sync.Mutex
	current *Credentials
	stamps  [3]stamp
	failed  [3]stamp // at which reading failed, to say so once
}

var _ Source = (*Folder)(nil)

// A stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// Load reads a region's credentials from dir, which must have been made by
// InitAuthority and Issue or be like it. The log hears when files have been
// renewed, or cannot be read; it may be nil.
func Load(dir, region string, log *slog.Logger) (*Folder, error) {
	if err := CheckName(region); err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Folder{dir: dir, region: region, log: log}
	f.stamps = f.look()
	c, err := f.read()
	if err != nil {
		return nil, err
	}
	f.current = c
	return f, nil
}

func (f *Folder) paths() [3]string {
	return [3]string{
		filepath.Join(f.dir, AuthorityCert),
		filepath.Join(f.dir, f.region+certSuffix),
		filepath.Join(f.dir, f.region+keySuffix),
	}
}

func (f *Folder) look() (s [3]stamp) {
	for i, p := range f.paths() {
		if info, err := os.Stat(p); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// Credentials implements Source.
func (f *Folder) Credentials() (*Credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.look()
	if now == f.stamps || now == f.failed {
		return f.current, nil
	}
	c, err := f.read()
	if err != nil {
		f.failed = now
		f.log.Warn("certificates have changed and cannot be read, the former ones stay in use", "folder", f.dir, "error", err)
		return f.current, nil
	}
	f.current, f.stamps, f.failed = c, now, [3]stamp{}
	f.log.Info("certificates were renewed", "folder", f.dir, "until", c.Certificate.Leaf.NotAfter)
	return c, nil
}

func (f *Folder) read() (*Credentials, error) {
	paths := f.paths()
	ca, err := readFile(paths[0], initHint(f.dir))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%w: %s holds no certificate; %s", ErrFile, paths[0], initHint(f.dir))
	}
	pair, err := readPair(paths[1], paths[2], issueHint(f.dir, f.region))
	if err != nil {
		return nil, err
	}
	id, err := IdentityOf(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; %s", paths[1], err, issueHint(f.dir, f.region))
	}
	c := &Credentials{Identity: id, Certificate: pair, Roots: roots}
	if id.Region != f.region {
		return nil, fmt.Errorf("%s: %w: it says %s, not region %s", paths[1], ErrRegion, id, f.region)
	}
	chain := []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, cert)
		}
	}
	switch _, err := c.Verify(chain, time.Now(), x509.ExtKeyUsageServerAuth); {
	case errors.Is(err, ErrExpired):
		// The region can still serve its own clients.
		f.log.Error("this region's certificate is out of its time, no peer will talk to it",
			"file", paths[1], "from", pair.Leaf.NotBefore, "until", pair.Leaf.NotAfter, "error", err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w; %s", paths[1], err, issueHint(f.dir, f.region))
	}
	return c, nil
}
