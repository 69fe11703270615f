package api

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsPath is where Prometheus finds what a region measures.
const MetricsPath = "/metrics"

// Bounds of a scrape. Beyond them it is answered 503.
const (
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// metrics are what the server counts.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	mu sync.RWMutex
	// answers are what was counted before, so that labels are not looked up for each request.
	answers map[answered]counters
}

// An answered request is one of as many as there are values of the labels.
type answered struct {
	method, route string
	status        int
}

type counters struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

// noRouteLabel is the route of requests that have none.
const noRouteLabel = "(none)"

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_http_requests_total", Help: "Requests answered, by the pattern of their route.",
		}, []string{"method", "route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "meridian_http_request_duration_seconds", Help: "From the headers of a request to the end of its answer. Feeds are left out.",
			Buckets: prometheus.ExponentialBuckets(250e-6, 2, 16),
		}, []string{"method", "route"}),
		answers: map[answered]counters{},
	}
}

// register makes the server's metrics known.
func (s *Server) register(reg prometheus.Registerer) error {
	gauge := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	for _, c := range []prometheus.Collector{
		s.metrics.requests, s.metrics.seconds,
		gauge("meridian_http_requests_in_flight", "Requests that are being served.", s.requests.Load),
		gauge("meridian_http_waiters", "Requests that wait until the region holds what their token names.", s.waiters.Load),
		gauge("meridian_http_feeds", "Feeds that are being served.", s.feeds.Load),
		gauge("meridian_http_syncs", "Clients of automerge-repo that are being synced with.", s.syncs.Load),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "meridian_http_sync_clients_dropped_total", Help: "Clients of automerge-repo that were dropped because they took nothing in.",
		}, func() float64 { return float64(s.collab.Dropped()) }),
	} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// observe counts an answered request.
func (m *metrics) observe(x *exchange, r *http.Request, took time.Duration) {
	method, route := r.Method, x.route
	if !known(method) {
		method = "other"
	}
	if route == "" {
		route = noRouteLabel
	}
	if x.feed {
		m.requests.WithLabelValues(method, route, strconv.Itoa(x.status)).Inc()
		return
	}
	c := m.of(answered{method, route, x.status})
	c.requests.Inc()
	c.seconds.Observe(took.Seconds())
}

func (m *metrics) of(a answered) counters {
	m.mu.RLock()
	c, ok := m.answers[a]
	m.mu.RUnlock()
	if ok {
		return c
	}
	c = counters{m.requests.WithLabelValues(a.method, a.route, strconv.Itoa(a.status)), m.seconds.WithLabelValues(a.method, a.route)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[a] = c
	return c
}

func known(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// getMetrics answers in the formats of Prometheus.
func (s *Server) getMetrics(x *exchange, r *http.Request) error {
	s.scrape.ServeHTTP(x, r)
	return nil
}

func newScrape(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout, EnableOpenMetrics: true,
	})
}
