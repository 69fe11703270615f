package region

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/region/core"
)

// TestI08_CollectionLabelsAreBounded counts in more collections than are counted
// apart, twice each.
func TestI08_CollectionLabelsAreBounded(t *testing.T) {
	const beyond = 10
	m := newMetrics()
	col := func(i int, policy conflict.Resolver) *core.Collection {
		return &core.Collection{Name: fmt.Sprint("c", i), Settings: core.Settings{Policy: policy}}
	}
	for range 2 {
		for i := range MaxLabelledCollections + beyond {
			m.read(col(i, conflict.LWW()), 3)
		}
	}
	m.read(col(0, conflict.Merge()), 1)
	m.read(col(MaxLabelledCollections, conflict.Merge()), 1)
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.reads)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[documentLabels]float64{}
	for _, c := range families[0].GetMetric() {
		got[documentLabels{c.GetLabel()[0].GetValue(), c.GetLabel()[1].GetValue()}] = c.GetCounter().GetValue()
	}
	if want := MaxLabelledCollections + 1 + 2; len(got) != want {
		t.Errorf("%d counters, not %d", len(got), want)
	}
	for labels, want := range map[documentLabels]float64{
		{"c0", "lww"}:               6,
		{"c0", "merge"}:             1,
		{OtherCollections, "lww"}:   6 * beyond,
		{OtherCollections, "merge"}: 1,
	} {
		if got[labels] != want {
			t.Errorf("%v: %v reads, not %v", labels, got[labels], want)
		}
	}
	if got := len(m.collections.known); got != MaxLabelledCollections+1 {
		t.Errorf("%d counters are kept", got)
	}
}
