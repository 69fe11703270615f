package quic_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	quicgo "github.com/quic-go/quic-go"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/internal/peering"
	"github.com/meridiandb/meridian/transport/quic"
	"github.com/meridiandb/meridian/transport/wire"
)

// victim is region b, linked with a, with a log.
type victim struct {
	net    loopback
	addr   string
	log    *logbook
	a, b   *events
	link   transport.Link // of a
	bTrans transport.Transport
}

func newVictim(t *testing.T, cfg transport.Config) *victim {
	t.Helper()
	v := &victim{net: loopback{newBase(t)}, log: new(logbook)}
	bcfg := cfg
	bcfg.Log = v.log.logger()
	a, b := v.net.Transport(t, "a", settings()), v.net.Transport(t, "b", bcfg)
	v.addr, v.bTrans = b.Addr(), b
	a.SetPeers(map[string]transport.Endpoint{"b": {Addr: b.Addr(), Dial: true}})
	b.SetPeers(map[string]transport.Endpoint{"a": {}, "evil": {}})
	v.a, v.b = run(t, a), run(t, b)
	v.link = next(t, "link at a", v.a.ups)
	next(t, "link at b", v.b.ups)
	return v
}

// check makes sure that b still serves a, over the same link.
func (v *victim) check(t *testing.T) {
	t.Helper()
	id := mathrand.Uint64()
	v.link.Send(wire.Request{ID: id})
	for {
		if m := next(t, "a message of a", v.b.got); m.m.(wire.Request).ID == id {
			return
		}
	}
}

// forged returns credentials that sign themselves.
func forged(t *testing.T, id certs.Identity, change func(*x509.Certificate)) *certs.Credentials {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{id.URI()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &certs.Credentials{Identity: id, Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func issue(t *testing.T, a *certs.Authority, region string) *certs.Credentials {
	t.Helper()
	c, err := a.Issue(region)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhoDoesNotBelongIsRefusedWithALogLine(t *testing.T) {
	foreign, err := certs.NewAuthority("test", certs.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	v := newVictim(t, settings())
	other := *v.net.authority // the same authority, another cluster
	other.Cluster = "other"
	id := certs.Identity{Cluster: "test", Region: "evil"}

	for name, test := range map[string]struct {
		credentials *certs.Credentials
		want        error
	}{
		"foreign authority":  {issue(t, foreign, "evil"), certs.ErrAuthority},
		"signs itself":       {forged(t, id, nil), certs.ErrAuthority},
		"says it is its own": {forged(t, id, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), certs.ErrAuthority},
		"other cluster":      {issue(t, &other, "evil"), certs.ErrCluster},
		"its own name":       {issue(t, v.net.authority, "b"), certs.ErrRegion},
		"no certificate":     {nil, certs.ErrNoIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			// In TLS 1.3 who dials is done before the other side has looked.
			qc, err := dialRaw(t, v.addr, test.credentials, wire.Protocol)
			if err == nil {
				_, err = qc.AcceptUniStream(t.Context())
			}
			var refused *quicgo.TransportError
			if !errors.As(err, &refused) || !refused.ErrorCode.IsCryptoError() || !refused.Remote {
				t.Errorf("got %v", err)
			}
			v.log.await(t, "level=WARN", "refused a connection", "127.0.0.1", test.want.Error())
		})
	}
	if _, err := dialRaw(t, v.addr, issue(t, v.net.authority, "evil"), "meridian/0"); err == nil {
		t.Error("another protocol was accepted")
	}
	qc, err := dialRaw(t, v.addr, issue(t, v.net.authority, "stranger"), wire.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	introduce(t, qc)
	_, err = qc.AcceptUniStream(t.Context())
	if app := new(quicgo.ApplicationError); !errors.As(err, &app) || app.ErrorCode != quicgo.ApplicationErrorCode(peering.CodeNotPeer) {
		t.Errorf("got %v", err)
	}
	v.log.await(t, "level=WARN", "not a peer", "stranger")
	v.check(t)
	if len(v.b.ups) > 0 {
		t.Error("a link came up")
	}
}

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	v := newVictim(t, settings())
	for range 20 {
		if qc, err := dialRaw(t, v.addr, nil, wire.Protocol); err == nil {
			_, _ = qc.AcceptUniStream(t.Context())
		}
	}
	if n := len(v.log.lines("refused a connection")); n != 1 {
		t.Errorf("%d lines", n)
	}
}

func TestWhoDialsDemandsTheRegionThatItWanted(t *testing.T) {
	v := newVictim(t, settings())
	foreign, err := certs.NewAuthority("test", certs.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	other := *v.net.authority
	other.Cluster = "other"
	for name, test := range map[string]struct {
		credentials *certs.Credentials
		peer        string
		want        error
	}{
		"another region":  {issue(t, v.net.authority, "evil"), "c", certs.ErrRegion},
		"foreign":         {issue(t, foreign, "evil"), "b", certs.ErrAuthority},
		"another cluster": {issue(t, &other, "evil"), "b", certs.ErrCluster},
		"itself":          {issue(t, v.net.authority, "b"), "evil", certs.ErrRegion},
	} {
		t.Run(name, func(t *testing.T) {
			log := new(logbook)
			cfg := settings()
			cfg.Log = log.logger()
			tr, err := quic.New(quic.Config{Config: cfg, Listen: "127.0.0.1:0", Credentials: test.credentials})
			if err != nil {
				t.Fatal(err)
			}
			tr.SetPeers(map[string]transport.Endpoint{test.peer: {Addr: v.addr, Dial: true}})
			e := run(t, tr)
			log.await(t, "level=WARN", "cannot reach peer", test.want.Error())
			if err := tr.Peers()[test.peer].LastError; !errors.Is(err, test.want) || !errors.Is(err, transport.ErrIdentity) {
				t.Errorf("got %v", err)
			}
			if len(e.ups) > 0 {
				t.Error("a link came up")
			}
		})
	}
	v.check(t)
}

func TestRandomBytesOnThePortChangeNothing(t *testing.T) {
	v := newVictim(t, settings())
	conn, err := net.Dial("udp", v.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := mathrand.NewChaCha8([32]byte{})
	random := mathrand.New(r)
	for i := range 3000 {
		b := make([]byte, random.IntN(1500))
		_, _ = r.Read(b)
		if len(b) > 5 {
			switch i % 4 { // look like QUIC a little
			case 1:
				b[0] = 0xc0 | b[0]&0x3f
				binary.BigEndian.PutUint32(b[1:], 1)
			case 2:
				b[0] = 0x40 | b[0]&0x3f
			case 3:
				b[0] = 0xc0
				binary.BigEndian.PutUint32(b[1:], 1)
				b[5] = 8
			}
		}
		_, _ = conn.Write(b)
	}
	v.check(t)
	if len(v.b.ups)+len(v.b.downs)+len(v.a.downs) > 0 {
		t.Error("links have changed")
	}
}

// introduce sends what makes a connection a link.
func introduce(t *testing.T, qc *quicgo.Conn) *quicgo.SendStream {
	t.Helper()
	s, err := qc.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Write(wire.Preface{Incarnation: mathrand.Uint64(), Attempt: 1}.Append([]byte{byte(wire.StreamLive)}))
	return s
}

func frame(t *testing.T, messages ...wire.Message) []byte {
	t.Helper()
	return wire.NewEncoder(nil, transport.NeverCompress).AppendFrame(nil, messages...)
}

// bomb is a small frame that says and holds a gigabyte.
func bomb(t *testing.T, says uint64) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := enc.EncodeAll(make([]byte, 1<<28), nil)
	body := append(binary.AppendUvarint([]byte{wire.FlagZstd}, says), packed...)
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}

func TestNonsenseCostsThePeerItsLinkOnly(t *testing.T) {
	v := newVictim(t, settings())
	evil := issue(t, v.net.authority, "evil")
	live := func(b []byte) func(*testing.T, *quicgo.Conn, *quicgo.SendStream) {
		return func(t *testing.T, _ *quicgo.Conn, s *quicgo.SendStream) { _, _ = s.Write(b) }
	}
	bulk := func(b []byte) func(*testing.T, *quicgo.Conn, *quicgo.SendStream) {
		return func(t *testing.T, qc *quicgo.Conn, _ *quicgo.SendStream) {
			s, err := qc.OpenUniStream()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = s.Write(b)
			s.Close()
		}
	}
	message := func(b []byte) []byte {
		body := append(append([]byte{0}, binary.AppendUvarint(nil, uint64(len(b)))...), b...)
		return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
	}
	hello := frame(t, wire.Hello{MinVersion: 1, MaxVersion: 1})
	for name, misbehave := range map[string]func(*testing.T, *quicgo.Conn, *quicgo.SendStream){
		"random bytes":         live(bytes.Repeat([]byte{0xa7, 3, 0xff, 0x5e}, 1000)),
		"frame too long":       live(binary.AppendUvarint(nil, wire.MaxFrame+1)),
		"endless length":       live(bytes.Repeat([]byte{0xff}, 100)),
		"empty frame":          live([]byte{1, 0}),
		"unknown flags":        live([]byte{3, 0x80, 0, 0}),
		"zstd of nothing":      live([]byte{5, wire.FlagZstd, 10, 1, 2, 3}),
		"bomb that lies":       live(bomb(t, 100)),
		"bomb that does not":   live(bomb(t, 1<<28)),
		"bomb at the bound":    live(bomb(t, wire.MaxBody)),
		"message beyond frame": live([]byte{3, 0, 100, 1}),
		"truncated message":    live(message(wire.Append(nil, wire.Hello{MinVersion: 1, MaxVersion: 1})[:9])),
		"too many changes":     live(message([]byte{byte(wire.KindChanges), 0xff, 0xff, 0xff, 0x7f})),
		"live stream ends":     func(_ *testing.T, _ *quicgo.Conn, s *quicgo.SendStream) { s.Close() },
		"live stream is reset": func(_ *testing.T, _ *quicgo.Conn, s *quicgo.SendStream) { _, _ = s.Write(hello); s.CancelWrite(7) },
		"live stream ends amid": func(_ *testing.T, _ *quicgo.Conn, s *quicgo.SendStream) {
			_, _ = s.Write(hello[:len(hello)-1])
			s.Close()
		},
		"bulk of another type": bulk([]byte{99}),
		"second live stream":   bulk([]byte{byte(wire.StreamLive)}),
		"bulk ends amid":       bulk(append([]byte{byte(wire.StreamBulk)}, hello[:len(hello)-1]...)),
		"nonsense in bulk":     bulk([]byte{byte(wire.StreamBulk), 0xff, 0xff, 0xff, 0xff, 0xff}),
	} {
		t.Run(name, func(t *testing.T) {
			qc, err := dialRaw(t, v.addr, evil, wire.Protocol)
			if err != nil {
				t.Fatal(err)
			}
			s := introduce(t, qc)
			next(t, "evil's link", v.b.ups)
			misbehave(t, qc, s)
			if err := next(t, "the end of evil's link", v.b.downs); !errors.Is(err, transport.ErrProtocol) {
				t.Errorf("its link ended with %v", err)
			}
			<-qc.Context().Done()
			if app := new(quicgo.ApplicationError); !errors.As(context.Cause(qc.Context()), &app) || app.ErrorCode != quicgo.ApplicationErrorCode(peering.CodeProtocol) {
				t.Errorf("evil was told %v", context.Cause(qc.Context()))
			}
			v.check(t)
		})
	}
	if n := len(v.log.lines("makes no sense")); n == 0 {
		t.Error("no log line")
	}
}

func TestUnknownMessagesArePassedOver(t *testing.T) {
	v := newVictim(t, settings())
	qc, err := dialRaw(t, v.addr, issue(t, v.net.authority, "evil"), wire.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	s := introduce(t, qc)
	l := next(t, "the link", v.b.ups)
	_, _ = s.Write([]byte{6, 0, 2, 200, 1, 1, 201}) // kinds 200 and 201
	_, _ = s.Write(frame(t, wire.Request{ID: 5}))
	if m := next(t, "the message", v.b.got); m.m.(wire.Request).ID != 5 {
		t.Errorf("got %+v", m)
	}
	if st := l.Stats(); st.Unknown != 2 || st.MessagesIn != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestWhoDoesNotIntroduceItselfIsClosed(t *testing.T) {
	cfg := settings()
	cfg.DialTimeout = 300 * time.Millisecond
	v := newVictim(t, cfg)
	evil := issue(t, v.net.authority, "evil")
	for name, begin := range map[string][]byte{
		"silence":       {},
		"half":          {byte(wire.StreamLive), 1, 2, 3},
		"bulk at first": {byte(wire.StreamBulk), 0},
	} {
		t.Run(name, func(t *testing.T) {
			qc, err := dialRaw(t, v.addr, evil, wire.Protocol)
			if err != nil {
				t.Fatal(err)
			}
			if len(begin) > 0 {
				s, err := qc.OpenUniStream()
				if err != nil {
					t.Fatal(err)
				}
				_, _ = s.Write(begin)
			}
			<-qc.Context().Done()
			if app := new(quicgo.ApplicationError); !errors.As(context.Cause(qc.Context()), &app) || !app.Remote {
				t.Errorf("ended by %v", context.Cause(qc.Context()))
			}
		})
	}
	v.check(t)
}

func TestRenewedCertificatesAreTakenUp(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(certs.InitAuthority(dir, "test", certs.Validity{}))
	start := func(region string, log *logbook) transport.Transport {
		must(certs.Issue(dir, region, nil, certs.Validity{}))
		source, err := certs.Load(dir, region, log.logger())
		must(err)
		cfg := settings()
		cfg.Log = log.logger()
		tr, err := quic.New(quic.Config{Config: cfg, Listen: "127.0.0.1:0", Credentials: source})
		must(err)
		return tr
	}
	log := new(logbook)
	a, b := start("a", new(logbook)), start("b", log)
	a.SetPeers(map[string]transport.Endpoint{"b": {Addr: b.Addr(), Dial: true}})
	b.SetPeers(map[string]transport.Endpoint{"a": {}})
	ea, eb := run(t, a), run(t, b)
	l := next(t, "the link", ea.ups)
	next(t, "the link", eb.ups)

	serial := func() string {
		qc, err := dialRaw(t, b.Addr(), nil, wire.Protocol)
		must(err)
		return qc.ConnectionState().TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	for _, f := range []string{"b.crt", "b.key"} {
		must(os.Rename(filepath.Join(dir, f), filepath.Join(dir, "old-"+f)))
	}
	must(certs.Issue(dir, "b", nil, certs.Validity{}))
	if serial() == before {
		t.Error("b shows its old certificate")
	}
	log.await(t, "renewed")
	l.Close(errors.New("again"))
	next(t, "the link", ea.ups)

	// Files that cannot be used do not take the region off the network.
	must(os.WriteFile(filepath.Join(dir, "b.crt"), []byte("nonsense"), 0o600))
	next(t, "the link", eb.ups).Close(errors.New("again"))
	next(t, "the link", ea.ups)
	log.await(t, "level=WARN", "stay in use")
	if n := strings.Count(strings.Join(log.lines("stay in use"), ""), "\n"); n != 1 {
		t.Errorf("said %d times", n)
	}
}
