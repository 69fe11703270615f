package quic_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/quic"
)

func TestConfigDefaultsAndBounds(t *testing.T) {
	source := new(certs.Credentials)
	good := quic.Config{Listen: "127.0.0.1:0", Credentials: source}
	c, err := good.Validate()
	if err != nil {
		t.Fatal(err)
	}
	if c.KeepAlive != quic.DefaultKeepAlive || c.IdleTimeout != quic.DefaultIdleTimeout || c.StreamWindow != quic.DefaultStreamWindow || c.MaxBulk != transport.DefaultMaxBulk {
		t.Errorf("defaults %+v", c)
	}
	slow := good
	slow.KeepAlive = time.Minute
	if c, err := slow.Validate(); err != nil || c.IdleTimeout != 4*time.Minute {
		t.Errorf("a long KeepAlive alone: %v, %v", c.IdleTimeout, err)
	}
	for name, change := range map[string]func(*quic.Config){
		"no credentials":     func(c *quic.Config) { c.Credentials = nil },
		"no address":         func(c *quic.Config) { c.Listen = "" },
		"short idle timeout": func(c *quic.Config) { c.IdleTimeout = time.Second },
		"small window":       func(c *quic.Config) { c.StreamWindow = 1 },
		"negative keepalive": func(c *quic.Config) { c.KeepAlive = -1 },
		"bad queue":          func(c *quic.Config) { c.QueueBytes = -1 },
	} {
		bad := good
		change(&bad)
		if _, err := bad.Validate(); !errors.Is(err, transport.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := quic.New(bad); !errors.Is(err, transport.ErrConfig) {
			t.Errorf("%s: New: %v", name, err)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	n := newBase(t)
	cfg := quic.Config{Listen: "127.0.0.1:0", Credentials: n.issue(t, "a")}
	tr, err := quic.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = tr.Addr()
	if other, err := quic.New(cfg); err == nil {
		other.Close()
		t.Error("two transports on one address")
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	again, err := quic.New(cfg)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}
