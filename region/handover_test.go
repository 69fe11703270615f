package region_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/topology"
)

// A region that is about to stop waits until another one has its last write, for a while
// if none can be reached.
func TestLastWriteIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 100*time.Millisecond, topology.Spec{Kind: topology.Mesh}, "a", "b")
		defer c.stop()
		c.linked()
		c.put("a", "things", "d", map[string]any{"n": "1"})
		written := c.regions["a"].Have()
		if c.regions["b"].Have().Covers(written) {
			t.Fatal("b has it at once")
		}
		began := time.Now()
		c.regions["a"].HandOver(t.Context())
		if took := time.Since(began); !c.regions["b"].Have().Covers(written) || took > 250*time.Millisecond {
			t.Errorf("after %v b has %v, written was %v", took, c.regions["b"].Have(), written)
		}
		c.cut()
		c.put("a", "things", "d", map[string]any{"n": "2"})
		began = time.Now()
		c.regions["a"].HandOver(t.Context())
		if took := time.Since(began); took > region.HandOverWait {
			t.Errorf("it waits for %v", took)
		}
		c.heal()
	})
}
