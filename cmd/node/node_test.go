package node

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/transport/certs"
)

// loopback takes free ports for clients and for peers.
func loopback(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

// cluster makes the configurations of regions that know each other.
func cluster(t *testing.T, names ...string) []Config {
	t.Helper()
	authority, err := certs.NewAuthority("test", certs.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	cfgs := make([]Config, len(names))
	for i, name := range names {
		c := &cfgs[i]
		c.Region, c.Cluster, c.Data = name, "test", filepath.Join(t.TempDir(), name)
		c.HTTPListener, c.PeerConn = loopback(t)
		c.Peers = map[string]string{}
		if c.Credentials, err = authority.Issue(name); err != nil {
			t.Fatal(err)
		}
	}
	for i := range cfgs {
		for j := range cfgs {
			if i != j {
				cfgs[i].Peers[names[j]] = cfgs[j].PeerConn.LocalAddr().String()
			}
		}
	}
	return cfgs
}

func start(t *testing.T, cfg Config) *Node {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := n.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNodesReplicate(t *testing.T) {
	cfgs := cluster(t, "us-east", "eu-west")
	cfgs[0].FaultInjection = true
	us, eu := start(t, cfgs[0]), start(t, cfgs[1])
	if err := us.AwaitReady(t.Context()); err != nil { // it was ready alone, and has met another since
		t.Fatal(err)
	}
	here, err := client.New(us.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(here.Close)
	there, err := here.At(eu.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.Put(t.Context(), "c", "d", []byte(`{"v":1}`), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	// The token that both share makes the other region wait.
	d, err := there.Get(t.Context(), "c", "d", false)
	if err != nil || string(d.Value) != "{\"v\":1}\n" || d.Region != "eu-west" {
		t.Fatalf("%+v: %v", d, err)
	}
	if us.Region().Name() != "us-east" || us.PeerAddr() == eu.PeerAddr() {
		t.Errorf("%s at %s", us.Region().Name(), us.PeerAddr())
	}
}

func TestNewThatFailsLeavesNothingOpen(t *testing.T) {
	good := cluster(t, "us-east")[0]
	for name, spoil := range map[string]struct {
		change func(*Config)
		want   error
	}{
		"name":        {func(c *Config) { c.Region = "US" }, ErrConfig},
		"data":        {func(c *Config) { c.Data = "" }, ErrConfig},
		"certificate": {func(c *Config) { c.Credentials, c.TLSDir = nil, t.TempDir() }, certs.ErrMissing},
		"no folder":   {func(c *Config) { c.Credentials = nil }, ErrConfig},
		"cluster":     {func(c *Config) { c.Cluster = "other" }, certs.ErrCluster},
		"region":      {func(c *Config) { c.Region = "eu-west" }, certs.ErrRegion},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			cfg.HTTPListener, cfg.PeerConn = loopback(t)
			spoil.change(&cfg)
			if _, err := New(cfg); !errors.Is(err, spoil.want) {
				t.Errorf("%v is not %v", err, spoil.want)
			}
			if _, err := cfg.HTTPListener.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the listener: %v", err)
			}
			if _, _, err := cfg.PeerConn.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the socket: %v", err)
			}
		})
	}
	// The folder is free again when what comes after it fails.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := good
	cfg.HTTPListener, cfg.PeerConn = nil, nil
	cfg.PeerListen = "127.0.0.1:0"
	cfg.HTTP = taken.Addr().String()
	if _, err := New(cfg); err == nil {
		t.Fatal("the address is in use")
	}
	cfg.HTTP = "127.0.0.1:0"
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); !errors.Is(err, badgerstore.ErrLocked) {
		t.Errorf("a folder in use: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(n.URL(), "http://")); err == nil {
		t.Error("the port is still open")
	}
}

func TestURLOfAnUnspecifiedAddress(t *testing.T) {
	cfg := cluster(t, "us-east")[0]
	if err := cfg.HTTPListener.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.HTTPListener, cfg.HTTP = nil, "0.0.0.0:0"
	n := start(t, cfg)
	c, err := client.New(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Live(t.Context()); err != nil {
		t.Error(err)
	}
}
