package memnet_test

import (
	"testing"

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
	for name, bubble := range map[string]bool{"virtual time": true, "real time": false} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, transporttest.Factory{
				New:    func(testing.TB) transporttest.Net { return network{memnet.New(memnet.Options{})} },
				Bubble: bubble,
				Idle:   memnet.DefaultIdleTimeout,
			})
		})
	}
}
