package api

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/region"
)

func TestMetricsAreServedHoweverBusyTheRegionIs(t *testing.T) {
	tune := func(rc *region.Config, c *Config) {
		reg := prometheus.NewRegistry()
		c.MaxRequests, c.Metrics, c.Gatherer, rc.Metrics = 1, reg, reg, reg
	}
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		w.do("PUT", aDoc, `{"a":1}`).gives(201)
		w.do("GET", aDoc, nil).gives(200)
		w.do("GET", aDoc+"/no/such/route", nil).gives(404)
		w.do("PROPFIND", "/v1/cluster", nil).gives(405)
		s := w.servers["us-east"]
		s.requests.Add(1)
		defer s.requests.Add(-1)
		w.do("GET", aDoc, nil).gives(429)
		_, r := w.do("GET", MetricsPath, nil).send()
		if r.status != 200 || !strings.HasPrefix(r.Get("Content-Type"), "text/plain") {
			t.Fatalf("%d %s", r.status, r.Get("Content-Type"))
		}
		for _, line := range []string{
			`meridian_http_requests_total{code="201",method="PUT",route="/v1/collections/{collection}/docs/{id}"} 1`,
			`meridian_http_requests_total{code="200",method="GET",route="/v1/collections/{collection}/docs/{id}"} 1`,
			`meridian_http_requests_total{code="429",method="GET",route="(none)"} 1`,
			`meridian_http_request_duration_seconds_count{method="PUT",route="/v1/collections/{collection}/docs/{id}"} 1`,
			`meridian_http_requests_in_flight 1`,
			`meridian_http_feeds 0`,
			`meridian_writes_total{collection="carts",policy="merge"} 1`,
			`meridian_reads_total{collection="carts",policy="merge"} 1`,
			`meridian_ready 1`,
		} {
			if !strings.Contains(r.body, line+"\n") {
				t.Errorf("no line %s in\n%s", line, r.body)
			}
		}
		for _, bad := range []string{"no/such", `method="PROPFIND"`} {
			if strings.Contains(r.body, bad) {
				t.Errorf("what a client sent became a label: %s", bad)
			}
		}
	})
}

func TestFeedsAreLeftOutOfTheDurations(t *testing.T) {
	m := newMetrics()
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.requests, m.seconds)
	r := request(t, nil, "GET", "/v1/conflicts?feed=1", nil).r
	m.observe(&exchange{status: 200, route: "/v1/conflicts", feed: true}, r, time.Hour)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "meridian_http_requests_total" {
		t.Errorf("%v, %v", families, err)
	}
}
