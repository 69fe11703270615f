package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept in microseconds, up to maxLatency, to three digits.
const (
	maxLatency    = 120 * time.Second
	latencyDigits = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, maxLatency.Microseconds(), latencyDigits)
}

// A meter counts what happens. It is safe for concurrent use.
type meter struct {
	mu     sync.Mutex
	total  [opCount]*hdrhistogram.Histogram // nil until there is something to record
	failed map[string]int64                 // by the kind of failure
	late   *hdrhistogram.Histogram          // by how much a free client woke too late
	// Of the time since the last call of interval.
	recent       *hdrhistogram.Histogram
	recentFailed int64
}

func newMeter() *meter {
	return &meter{failed: map[string]int64{}, late: newHistogram(), recent: newHistogram()}
}

func micros(d time.Duration) int64 { return min(max(d, 0), maxLatency).Microseconds() }

func (m *meter) done(o op, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.total[o] == nil {
		m.total[o] = newHistogram()
	}
	v := micros(took)
	_ = m.total[o].RecordValue(v) // within its bounds
	_ = m.recent.RecordValue(v)
}

func (m *meter) failure(kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[kind]++
	m.recentFailed++
}

func (m *meter) woke(late time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.late.RecordValue(micros(late))
}

// reset forgets everything: the warm-up is over.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total, m.failed = [opCount]*hdrhistogram.Histogram{}, map[string]int64{}
	m.late.Reset()
	m.recent.Reset()
	m.recentFailed = 0
}

// interval fills in what happened since it was called last.
func (m *meter) interval(p *Progress, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.Rate = float64(m.recent.TotalCount()) / d.Seconds()
	p.P50 = time.Duration(m.recent.ValueAtQuantile(50)) * time.Microsecond
	p.P99 = time.Duration(m.recent.ValueAtQuantile(99)) * time.Microsecond
	p.Failed = m.recentFailed
	m.recent.Reset()
	m.recentFailed = 0
}

// Latency is a distribution, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	if h == nil || h.TotalCount() == 0 {
		return Latency{}
	}
	const perMilli = 1000
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / perMilli }
	return Latency{
		Count: h.TotalCount(), Mean: h.Mean() / perMilli,
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / perMilli,
	}
}
