package region_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
)

// measured gathers what a region measures: name{labels} to value, or to the
// count of a histogram.
func (c *cluster) measured(name string) map[string]float64 {
	c.t.Helper()
	families, err := c.metrics[name].Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := strings.TrimPrefix(f.GetName(), "meridian_")
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.Counter != nil:
				out[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				out[key] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return out
}

// expect compares some metrics of a region.
func (c *cluster) expect(name string, want map[string]float64) {
	c.t.Helper()
	got := c.measured(name)
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok || v != want[k] {
			c.t.Errorf("%s: %s is %v (there: %v), want %v", name, k, v, ok, want[k])
		}
	}
}

func TestMetricsTellOfACutLinkAndOfWhatIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 20*time.Millisecond, topology.Spec{}, "a", "b", "c")
		defer c.stop()
		c.settings("carts", `{"type":"register","policy":"lww"}`)
		c.settle(5 * time.Second)
		c.linked()
		const writes = 5
		for i := range writes {
			c.put("a", "carts", fmt.Sprint(i), map[string]any{"v": int64(i)})
		}
		c.settle(5 * time.Second)
		c.get("b", "carts", "1")
		c.get("b", "carts", "2")
		status, err := c.regions["a"].Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.expect("a", map[string]float64{
			"writes_total{collection=carts,policy=lww}": writes,
			"write_duration_seconds":                    writes,
			"link_state{peer=b,state=up}":               1,
			"link_state{peer=b,state=down}":             0,
			"link_rtt_seconds{peer=b}":                  0.04,
			"links_established_total{peer=b}":           1,
			"peer_clock_offset_seconds{peer=b}":         0,
			"ready":                                     1,
			"fenced":                                    0,
			"inbox_changes":                             0,
			"region_info{cluster=test,replica=" + status.Replica + ",topology=mesh}": 1,
		})
		before := c.measured("b")
		if before["reads_total{collection=carts,policy=lww}"] != 2 || before["changes_applied_total{origin=a}"] < writes {
			t.Errorf("b: %v", before)
		}

		// b is cut off: it lags, and then it gets what it lacks from the log.
		time.Sleep(time.Second) // until each has told what it holds
		c.net.Cut("a", "b")
		c.net.Cut("c", "b")
		time.Sleep(10 * time.Second)
		for i := range writes {
			c.put("a", "carts", fmt.Sprint(i), map[string]any{"v": int64(i + 100)})
		}
		time.Sleep(5 * time.Second)
		cut := c.measured("a")
		c.expect("a", map[string]float64{
			"link_state{peer=b,state=up}": 0, "link_state{peer=b,state=down}": 1, "link_state{peer=c,state=up}": 1,
			"peer_lag_changes{peer=b}": writes, "held_lag_changes": writes,
		})
		if _, there := cut["link_rtt_seconds{peer=b}"]; there {
			t.Error("there is a round trip without a link")
		}
		if lag := cut["peer_lag_seconds{peer=b}"]; lag < 4 || lag > 6 {
			t.Errorf("the lag is %v s, want about 5", lag)
		}
		if cut["stable_lag_changes"] < writes || cut["stable_lag_seconds"] < 4 || cut["peer_news_age_seconds{peer=b}"] < 14 {
			t.Errorf("a, cut: %v", cut)
		}
		c.net.Heal("a", "b")
		c.net.Heal("c", "b")
		c.settle(time.Minute)
		c.linked()
		healed, other := c.measured("a"), c.measured("c")
		if n := healed["resent_changes_total{peer=b}"] + other["resent_changes_total{peer=b}"]; n < writes {
			t.Errorf("%v changes were sent again", n)
		}
		if healed["links_established_total{peer=b}"] < 2 {
			t.Errorf("a: %v links with b", healed["links_established_total{peer=b}"])
		}
		for _, name := range []string{"link_sent_bytes_total{peer=b}", "link_received_bytes_total{peer=b}"} {
			if healed[name] <= cut[name] || cut[name] == 0 {
				t.Errorf("%s: %v when cut, %v when healed", name, cut[name], healed[name])
			}
		}
	})
}

func TestMetricsCountConflictsAndRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, topology.Spec{}, "a", "b")
		defer c.stop()
		c.settings("carts", `{"type":"register","policy":"lww"}`)
		c.settings("bids", `{"type":"register","policy":{"script":"function resolve(versions) { return versions[0].value.none.such }"}}`)
		c.settle(5 * time.Second)
		c.net.Cut("a", "b")
		time.Sleep(10 * time.Second)
		c.put("a", "bids", "x", map[string]any{"v": int64(1)})
		c.put("b", "bids", "x", map[string]any{"v": int64(2)})
		c.put("a", "carts", "x", map[string]any{"v": int64(1)})
		c.put("b", "carts", "x", map[string]any{"v": int64(2)})
		c.net.Heal("a", "b")
		c.settle(time.Minute)
		c.expect("a", map[string]float64{"conflicts_total{collection=carts,policy=lww}": 1, "policy_failures_total{collection=carts,policy=lww}": 0,
			"conflicts_total{collection=bids,policy=script}": 1, "policy_failures_total{collection=bids,policy=script}": 1, "conflict_log_records": 2})
		w := core.Write{Docs: []core.DocWrite{{
			Collection: "carts", ID: "x", If: core.Condition{Absent: true}, Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{}},
		}}}
		if _, err := c.regions["a"].Write(t.Context(), w); !errors.Is(err, core.ErrPrecondition) {
			t.Fatalf("a write over a document that must not exist: %v", err)
		}
		c.expect("a", map[string]float64{"writes_refused_total{reason=precondition}": 1})
	})
}
