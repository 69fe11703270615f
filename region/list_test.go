package region_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/meridiandb/meridian/region"
)

// A page is of one moment, however long it is, and though what is read of it is
// passed on before the rest is read: the API once read it in chunks, each of its
// own moment (found by e2e.TestChaos, as transfers half of which was on the page).
func TestI13_PageIsOfOneMomentWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 0, mesh, "a")
		defer c.stop()
		const count = 300
		put := func(round int) {
			for i := range count {
				c.put("a", "things", fmt.Sprintf("%03d", i), map[string]any{"round": int64(round)})
			}
		}
		put(1)
		var ids []string
		page, err := c.regions["a"].List(t.Context(), "things", region.ListOptions{
			Limit: count - 1,
			Each: func(d *region.Document) bool {
				if len(ids) == 1 {
					put(2) // everything changes while the page is read
				}
				if got := d.View.Value.(map[string]any)["round"]; got != int64(1) {
					t.Errorf("document %s is of round %v", d.ID, got)
				}
				ids = append(ids, d.ID)
				return true
			},
		})
		if err != nil || len(page.Documents) > 0 || !page.More || len(ids) != count-1 || !slices.IsSorted(ids) {
			t.Errorf("%d documents, more: %v, kept: %d, %v", len(ids), page.More, len(page.Documents), err)
		}
		// The page can be ended early.
		n := 0
		page, err = c.regions["a"].List(t.Context(), "things", region.ListOptions{
			Limit: count, Each: func(*region.Document) bool { n++; return n <= 5 },
		})
		if err != nil || !page.More || n != 6 {
			t.Errorf("%d documents, more: %v, %v", n, page.More, err)
		}
	})
}
