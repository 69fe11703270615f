package region_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// Older versions that wait in memory under load are there after a stop in order.
func TestStopSavesOlderVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a")
		defer c.stop()
		tags := make([]string, 100)
		for i := range tags {
			c.put("a", "things", fmt.Sprint(i), map[string]any{"n": int64(1)})
		}
		time.Sleep(core.TickEvery + time.Millisecond) // from now on the region is busy
		for i := range tags {
			tags[i] = c.get("a", "things", fmt.Sprint(i)).Tag
			c.put("a", "things", fmt.Sprint(i), map[string]any{"n": int64(1), "m": int64(2)})
		}
		c.stops["a"]()
		c.run("a")
		c.settle(time.Second)
		for i, tag := range tags {
			_, err := c.regions["a"].Write(context.Background(), core.Write{Docs: []core.DocWrite{{
				Collection: "things", ID: fmt.Sprint(i), BaseTag: tag,
				Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(3)}},
			}}})
			if err != nil {
				t.Fatalf("a write on the version of document %d that was superseded before the stop: %v", i, err)
			}
		}
	})
}
