package e2e

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/e2e/netns"
	"github.com/meridiandb/meridian/e2e/relay"
)

// spaces are misfortunes made by the kernel.
type spaces struct{ *netns.Network }

func (spaces) can(c relay.Conditions) bool { return netns.Can(c) }

func (spaces) reach(_, to *cluster.Node) (string, error) { return to.PeerAddr, nil }

// shortChaosInNamespaces is less than shortChaos, which looks for the same.
const shortChaosInNamespaces = 8 * time.Second

// The same as TestChaos, but each region has a network namespace of its own, and
// nftables cuts what goes between them.
func TestChaosInNamespaces(t *testing.T) {
	net, err := netns.New()
	if errors.Is(err, netns.ErrUnavailable) {
		t.Skipf("NOT TESTED: regions in network namespaces: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, regions := *chaosFor, fiveRegions
	if d == 0 {
		if d = shortChaosInNamespaces; *long {
			d = longChaos
		}
	}
	if d < manyRegions {
		regions = regions[:3]
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("replay: go test ./e2e -v -artifacts -run TestChaosInNamespaces -e2e.chaos %v -e2e.seed %d", d, seed)
	startChaos(t, spaces{net}, cluster.Options{Regions: regions, Places: net}, seed, d).run(d)
}
