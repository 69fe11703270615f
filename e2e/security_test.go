package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// protocol is the ALPN name of what regions speak.
const protocol = "meridian/1"

// sendOff restarts a region with other flags, and demands that the regions that
// it dials refuse it with a line in the log, and that nothing passes.
func sendOff(t *testing.T, c *cluster.Cluster, n *cluster.Node, args map[string]string, logs map[*cluster.Node][]string) {
	t.Helper()
	before := map[string]string{}
	n.Kill(t)
	for flag, v := range args {
		before[flag] = n.SetArg(flag, v)
	}
	n.Start(t)
	for node, parts := range logs {
		t.Logf("%s logs: %s", node.Region, node.AwaitLog(t, parts...))
	}
	rest := c.Others(n)
	rest[0].Put(t, "secret", "d", fmt.Sprintf(`{"not for":%q}`, strings.Join(logs[n], " ")))
	c.AwaitEqual(t, rest...)
	for _, p := range rest {
		// The link with the process that was killed has to be given up first.
		p.AwaitLink(t, n, "down")
		n.AwaitLink(t, p, "down")
	}
	if maps.Equal(n.MustCluster(t).Vector, rest[0].MustCluster(t).Vector) {
		t.Errorf("%s has got what is not for it", n.Region)
	}
	// With the right ones it is back.
	n.Kill(t)
	for flag, v := range before {
		n.SetArg(flag, v)
	}
	n.Start(t)
	n.AwaitReady(t)
	c.AwaitSame(t)
}

func TestRegionsThatAreNotOfTheClusterAreRefused(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	n := c.Nodes[2]

	t.Run("another authority", func(t *testing.T) {
		dir := filepath.Join(c.Dir, "other-authority")
		cluster.MustRun(t, "certs", "init", "--dir", dir, "--cluster", cluster.Name)
		cluster.MustRun(t, "certs", "issue", "--dir", dir, "--region", n.Region)
		const why = "certificate is not from this cluster's authority"
		sendOff(t, c, n, map[string]string{"--tls-dir": dir}, map[*cluster.Node][]string{n: {"level=WARN", why}})
	})
	t.Run("another cluster", func(t *testing.T) {
		dir := filepath.Join(c.Dir, "other-cluster")
		cluster.MustRun(t, "certs", "init", "--dir", dir, "--cluster", "other")
		cluster.MustRun(t, "certs", "issue", "--dir", dir, "--region", n.Region)
		sendOff(t, c, n, map[string]string{"--tls-dir": dir, "--cluster": "other"},
			map[*cluster.Node][]string{n: {"level=WARN", "meridian://" + cluster.Name + "/"}})
	})
	t.Run("another region than was dialled", func(t *testing.T) {
		// Its addresses of the others are mixed up. It links with nobody there; but they know its own.
		a, b := c.Nodes[0], c.Nodes[1]
		n.Kill(t)
		before := n.SetArg("--peers", a.Region+"="+b.PeerAddr+","+b.Region+"="+a.PeerAddr)
		n.Start(t)
		t.Logf("%s logs: %s", n.Region, n.AwaitLog(t, "level=WARN", "certificate is of another region: wanted region "+a.Region+", got "+b.Region))
		a.Put(t, "plain", "d", `{"for":"all"}`)
		c.AwaitSame(t)
		n.Kill(t)
		n.SetArg("--peers", before)
		n.Start(t)
		n.AwaitReady(t)
		c.AwaitSame(t)
	})
}

func TestRegionThatIsNoPeerIsRefused(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, b, stranger := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	a.Kill(t)
	before := a.SetArg("--peers", b.Region+"="+b.PeerAddr)
	a.Start(t)
	t.Logf("logged: %s", a.AwaitLog(t, "level=WARN", "refused a region that is not a peer", stranger.Region))
	stranger.AwaitLink(t, a, "down")
	a.Kill(t)
	a.SetArg("--peers", before)
	a.Start(t)
	a.AwaitReady(t)
	a.AwaitLink(t, stranger, "up")
	c.AwaitSame(t)
}

func TestServeRefusesCertificatesThatAreNotItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs := filepath.Join(dir, "certs")
	cluster.MustRun(t, "certs", "init", "--dir", certs, "--cluster", cluster.Name)
	cluster.MustRun(t, "certs", "issue", "--dir", certs, "--region", "us-east")
	for from, to := range map[string]string{"us-east.crt": "eu-west.crt", "us-east.key": "eu-west.key"} {
		b, err := os.ReadFile(filepath.Join(certs, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(certs, to), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		region, cluster, dir string
		words                []string
	}{
		"none":               {"ap-south", cluster.Name, certs, []string{"ap-south.crt", "meridian certs issue"}},
		"no authority":       {"ap-south", cluster.Name, filepath.Join(dir, "empty"), []string{"ca.crt", "meridian certs init"}},
		"of another region":  {"eu-west", cluster.Name, certs, []string{"another region", "us-east"}},
		"of another cluster": {"us-east", "other", certs, []string{"another cluster", "other"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, status := cluster.Run(t, "serve", "--region", tt.region, "--cluster", tt.cluster, "--tls-dir", tt.dir,
				"--data", filepath.Join(dir, "data-"+tt.region), "--http", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0")
			if status == 0 {
				t.Error("it was served")
			}
			for _, w := range tt.words {
				if !strings.Contains(stderr, w) {
					t.Errorf("the message does not mention %q: %s", w, stderr)
				}
			}
			t.Logf("status %d: %s", status, strings.TrimSpace(stderr))
		})
	}
}

// authority reads the authority of a cluster, to sign what it never would.
func authority(t *testing.T, c *cluster.Cluster) tls.Certificate {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(c.TLS, "ca.crt"), filepath.Join(c.TLS, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// sign makes a certificate with a URI name, signed by parent, or by itself.
func sign(t *testing.T, parent *tls.Certificate, uri string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(rand.Int64()), Subject: pkix.Name{CommonName: "impostor"}, URIs: []*url.URL{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	by, signer := template, any(key)
	if parent != nil {
		by, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(crand.Reader, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dial opens a connection to a region's port for peers.
func dial(t *testing.T, n *cluster.Node, alpn string, certs ...tls.Certificate) (*quicgo.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	return quicgo.DialAddr(ctx, n.PeerAddr, &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{alpn}, Certificates: certs,
	}, nil)
}

// awaitClosed waits until the other side has ended a connection, and returns why.
func awaitClosed(t *testing.T, conn *quicgo.Conn) error {
	t.Helper()
	select {
	case <-conn.Context().Done():
		return context.Cause(conn.Context())
	case <-time.After(cluster.Patience):
		t.Fatal("the connection stays")
		return nil
	}
}

func TestImpostorsOnThePeerPortAreRefusedAndLogged(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:2]})
	n := c.Nodes[0]
	c.Nodes[1].Kill(t) // its place is free
	ca := authority(t, c)
	name := "meridian://" + cluster.Name + "/"
	soon := time.Now().Add(time.Hour)
	tests := []struct {
		name  string
		certs []tls.Certificate
		log   []string
	}{
		{"no certificate", nil, []string{"refused a connection", "none was shown"}},
		{"signed by itself", []tls.Certificate{sign(t, nil, name+"eu-west", soon)}, []string{"refused a connection", "not from this cluster's authority", name + "eu-west"}},
		{"another cluster, same authority", []tls.Certificate{sign(t, &ca, "meridian://other/eu-west", soon)}, []string{"refused a connection", "certificate is of another cluster", "meridian://other/eu-west"}},
		{"expired", []tls.Certificate{sign(t, &ca, name+"eu-west", time.Now().Add(-time.Hour))}, []string{"refused a connection", "expired"}},
		{"this region's own name", []tls.Certificate{sign(t, &ca, name+"us-east", soon)}, []string{"refused a connection", "this region's own name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// With TLS 1.3 the client's side is through before the server has looked.
			if conn, err := dial(t, n, protocol, tt.certs...); err == nil {
				t.Logf("the impostor is told: %v", awaitClosed(t, conn))
			}
			t.Logf("logged: %s", n.AwaitLog(t, tt.log...))
		})
	}
	if conn, err := dial(t, n, "h3", sign(t, &ca, name+"eu-west", soon)); err == nil {
		t.Errorf("another protocol was let in: %v", awaitClosed(t, conn))
	}
	n.AwaitLink(t, c.Nodes[1], "down")
	c.Nodes[1].Start(t)
	c.Nodes[1].AwaitReady(t)
	c.AwaitSame(t)
}

// Who has a region's certificate and sends nonsense costs itself the link.
func TestNonsenseFromAPeerCostsItTheLink(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:2]})
	n, down := c.Nodes[0], c.Nodes[1]
	n.Put(t, "docs", "d", `{}`)
	c.AwaitEqual(t)
	down.Kill(t)
	before := n.Dump(t)
	ca := authority(t, c)
	cert := sign(t, &ca, "meridian://"+cluster.Name+"/"+down.Region, time.Now().Add(time.Hour))
	rng := rand.New(rand.NewPCG(8, 8))
	for i := range size(20, 500) {
		conn, err := dial(t, n, protocol, cert)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + rng.IntN(3) {
			s, err := conn.OpenUniStream()
			if err != nil {
				break // it is ended already
			}
			junk := make([]byte, rng.IntN(4000))
			for k := range junk {
				junk[k] = byte(rng.Uint32())
			}
			if i%2 == 0 && len(junk) > 4 {
				// A length that promises much more.
				copy(junk, []byte{0, 0xff, 0xff, 0xff})
			}
			if _, err := s.Write(junk); err != nil {
				break
			}
			if err := s.Close(); err != nil {
				break
			}
		}
		why := "closed here"
		select {
		case <-conn.Context().Done():
			why = fmt.Sprint(context.Cause(conn.Context()))
		case <-time.After(200 * time.Millisecond): // some nonsense is too short to be any
			if err := conn.CloseWithError(0, ""); err != nil {
				t.Error(err)
			}
		}
		if i < 4 {
			t.Logf("nonsense %d: %s", i, why)
		}
	}
	if !n.Running() {
		t.Fatal("the region has ended")
	}
	if diff := before.Diff(n.Dump(t)); diff != "" {
		t.Errorf("nonsense has changed something: %s", diff)
	}
	down.Start(t)
	down.AwaitReady(t)
	n.Put(t, "docs", "after", `{}`)
	c.AwaitSame(t)
}

func TestRandomBytesOnThePortsChangeNothing(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	n := c.Nodes[0]
	n.Put(t, "docs", "d", `{"v":1}`)
	c.AwaitSame(t)
	before, rss := n.Dump(t), n.RSS(t)
	vector := n.MustCluster(t).Vector

	conn, err := net.Dial("udp", n.PeerAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rng := rand.New(rand.NewPCG(9, 9))
	packets := size(20_000, 500_000)
	for i := range packets {
		b := make([]byte, 1+rng.IntN(1400))
		for k := range b {
			b[k] = byte(rng.Uint32())
		}
		if i%2 == 0 && len(b) > 20 {
			// The start of a QUIC packet: a long header of version 1, of each type.
			b[0] = 0xc0 | byte(i>>1&3)<<4
			copy(b[1:], []byte{0, 0, 0, 1, 8})
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		tcp, err := net.Dial("tcp", strings.TrimPrefix(n.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1+rng.IntN(5000))
		for k := range b {
			b[k] = byte(rng.Uint32())
		}
		_, _ = tcp.Write(b) // it may hang up at any byte
		if err := tcp.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := n.MustCluster(t).Vector; !maps.Equal(vector, after) {
		t.Errorf("the vector was %v, is %v", vector, after)
	}
	if diff := before.Diff(n.Dump(t)); diff != "" {
		t.Errorf("random bytes have changed something: %s", diff)
	}
	token := n.Put(t, "docs", "d", `{"v":2}`).Token()
	for _, p := range c.Others(n) {
		p.GetAfter(t, token, "docs", "d")
	}
	c.AwaitSame(t)
	t.Logf("%d datagrams and 100 connections of random bytes; resident memory %d MiB before, %d MiB after", packets, rss>>20, n.RSS(t)>>20)
}
