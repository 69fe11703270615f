package memnet_test

import (
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
	"github.com/meridiandb/meridian/transport/transporttest"
)

type network struct{ *memnet.Network }

func (n network) Transport(t testing.TB, region string, cfg transport.Config) transport.Transport {
	t.Helper()
	tr, err := n.Network.Transport(region, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestConformance(t *testing.T) {
	for name, idle := range map[string]time.Duration{"virtual time": memnet.DefaultIdleTimeout, "real time": 400 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, transporttest.Factory{
				New: func(testing.TB) transporttest.Net {
					return network{memnet.New(memnet.Options{IdleTimeout: idle})}
				},
				Bubble: name == "virtual time",
				Idle:   idle,
			})
		})
	}
}
