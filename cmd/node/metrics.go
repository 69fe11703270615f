package node

import (
	"fmt"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// regionLabel is on every metric of a region, so that regions can be told apart
// however they are scraped.
const regionLabel = "region"

// openMetrics makes the node's registry. It is the node's own: several nodes in
// one process do not meet in it.
func (n *Node) openMetrics() error {
	n.registry = prometheus.NewRegistry()
	n.measured = prometheus.WrapRegistererWith(prometheus.Labels{regionLabel: n.cfg.Region}, n.registry)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "meridian_build_info", Help: "What runs; the value is 1.",
		ConstLabels: prometheus.Labels{
			"version": n.cfg.Build.Version, "revision": n.cfg.Build.Revision, "goversion": runtime.Version(),
		},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := n.measured.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}
