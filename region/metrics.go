package region

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport"
)

// metrics are what a region counts as it goes. What it only has to look up when
// it is asked is the [collector]'s.
type metrics struct {
	writes, reads, refused *prometheus.CounterVec
	applied                *prometheus.CounterVec
	writeSeconds           prometheus.Histogram
	commitSeconds          prometheus.Histogram
	stepSeconds            prometheus.Histogram
	commitErrors, restarts prometheus.Counter
	commitBytes            prometheus.Counter
	streams                *prometheus.CounterVec
	resent, resentBytes    *prometheus.CounterVec
	forwarded, served      *prometheus.CounterVec

	collections collectionCounters
	links       linkTotals
}

// Bounds of what is measured: from fast disks to what nobody waits for.
var (
	commitBuckets = prometheus.ExponentialBuckets(100e-6, 2, 16)
	writeBuckets  = prometheus.ExponentialBuckets(250e-6, 2, 16)
)

// Outcomes of a forwarded request, the values of the label "outcome".
const (
	forwardAnswered    = "answered"
	forwardUnreachable = "unreachable"
	forwardBusy        = "busy"
	forwardLost        = "lost"
)

// Outcomes of a catch-up stream, the values of the label "outcome".
const (
	streamServed  = "served"
	streamFailed  = "failed"
	streamDropped = "dropped" // too many were under way
)

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	return &metrics{
		writes:        counters("meridian_writes_total", "Documents written by clients of this region.", "collection", "policy"),
		reads:         counters("meridian_reads_total", "Documents read by clients of this region.", "collection", "policy"),
		refused:       counters("meridian_writes_refused_total", "Writes of clients that were not made.", "reason"),
		applied:       counters("meridian_changes_applied_total", "Changes made durable, by the region that wrote them.", "origin"),
		writeSeconds:  histogram("meridian_write_duration_seconds", "From the mailbox to the answer of a write, durable here.", writeBuckets),
		commitSeconds: histogram("meridian_commit_duration_seconds", "One durable commit of a batch.", commitBuckets),
		stepSeconds:   histogram("meridian_step_duration_seconds", "One step of the replication core, without its commit.", commitBuckets),
		commitErrors:  counter("meridian_commit_failures_total", "Commits that the store refused."),
		restarts:      counter("meridian_core_restarts_total", "How often the core was made anew from what is durable."),
		commitBytes:   counter("meridian_commit_bytes_total", "Bytes of the records committed, as handed to the store."),
		streams:       counters("meridian_catchup_streams_total", "Catch-up streams that a peer asked for.", "peer", "outcome"),
		resent:        counters("meridian_resent_changes_total", "Changes sent from the log, since a peer lacked them.", "peer"),
		resentBytes:   counters("meridian_resent_bytes_total", "Bytes of the changes sent from the log, uncompressed.", "peer"),
		forwarded:     counters("meridian_forwarded_requests_total", "Requests that were to be answered by another region.", "peer", "outcome"),
		served:        counters("meridian_forwarded_served_total", "Requests that another region forwarded, and whether they were answered.", "peer", "outcome"),
		collections:   collectionCounters{names: map[string]struct{}{}, known: map[documentLabels]documentCounters{}},
		links:         linkTotals{peers: map[string]*linkTotal{}},
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.writes, m.reads, m.refused, m.applied, m.writeSeconds, m.commitSeconds, m.stepSeconds, m.commitErrors, m.restarts,
		m.commitBytes, m.streams, m.resent, m.resentBytes, m.forwarded, m.served,
	}
}

// collectionCounters are those of documents, by collection. They bound the values
// of a label that users choose, and are kept so that labels are not looked up for
// each request.
type collectionCounters struct {
	mu    sync.RWMutex
	names map[string]struct{}
	known map[documentLabels]documentCounters
}

type documentLabels struct{ collection, policy string }

type documentCounters struct{ writes, reads prometheus.Counter }

// MaxLabelledCollections bounds the collections that are counted apart; those
// beyond are counted together under OtherCollections.
const (
	MaxLabelledCollections = core.MaxConflictCounts
	OtherCollections       = "(others)"
)

// documents are the counters of a collection.
func (m *metrics) documents(c *core.Collection) documentCounters {
	l := documentLabels{c.Name, conflict.Name(c.Settings.Policy)}
	m.collections.mu.RLock()
	d, ok := m.collections.known[l]
	others := false
	if !ok && len(m.collections.names) >= MaxLabelledCollections {
		_, named := m.collections.names[l.collection]
		others = !named
	}
	m.collections.mu.RUnlock()
	switch {
	case ok:
		return d
	case others:
		return m.labelled(documentLabels{OtherCollections, l.policy})
	}
	return m.remember(l)
}

func (m *metrics) remember(l documentLabels) documentCounters {
	c := &m.collections
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, named := c.names[l.collection]; !named && len(c.names) >= MaxLabelledCollections {
		return m.labelled(documentLabels{OtherCollections, l.policy})
	}
	d := m.labelled(l)
	c.names[l.collection], c.known[l] = struct{}{}, d
	return d
}

func (m *metrics) labelled(l documentLabels) documentCounters {
	return documentCounters{m.writes.WithLabelValues(l.collection, l.policy), m.reads.WithLabelValues(l.collection, l.policy)}
}

func (m *metrics) read(c *core.Collection, documents int) {
	if documents > 0 {
		m.documents(c).reads.Add(float64(documents))
	}
}

// wrote counts a write and how it ended.
func (m *metrics) wrote(start time.Time, r *core.Receipt, err error) {
	if err != nil {
		m.refused.WithLabelValues(refusal(err)).Inc()
		return
	}
	m.writeSeconds.Observe(time.Since(start).Seconds())
	for i := range r.Docs {
		m.documents(r.Docs[i].Collection).writes.Inc()
	}
}

// refusal sorts the reasons for which a write is not made.
func refusal(err error) string {
	for _, r := range []struct {
		err  error
		name string
	}{
		{ErrBusy, "busy"},
		{store.ErrFull, "disk_full"},
		{ErrStorage, "storage"},
		{ErrStopped, "stopped"},
		{core.ErrCatchingUp, "catching_up"},
		{core.ErrFenced, "fenced"},
		{core.ErrPrecondition, "precondition"},
		{core.ErrNotHome, "not_home"},
		{core.ErrHomePending, "home_pending"},
		{core.ErrNoAuthority, "no_authority"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "invalid"
}

// grew counts the changes by which Have has grown.
func (m *metrics) grew(before, after crdt.Vector, catalog *core.Catalog) {
	for _, s := range before.Missing(after) {
		m.applied.WithLabelValues(catalog.Region(s.Replica)).Add(float64(s.To - s.From + 1))
	}
}

// linkTotals adds up the figures of links, each of which counts from its own
// beginning.
type linkTotals struct {
	mu    sync.Mutex
	peers map[string]*linkTotal
}

// A linkTotal is of the links with one peer: those that are over, and the one
// that there is.
type linkTotal struct {
	links uint64
	past  transport.LinkStats
	now   transport.Link
}

func (t *linkTotals) up(l transport.Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[l.Peer()]
	if p == nil {
		p = &linkTotal{}
		t.peers[l.Peer()] = p
	}
	p.links++
	p.now = l
}

func (t *linkTotals) down(l transport.Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.peers[l.Peer()]; p != nil && p.now == l {
		p.past, p.now = p.sum(), nil
		p.past.QueuedBytes = 0
	}
}

// sum is what all links with the peer did, and what is queued on the present one.
func (p *linkTotal) sum() transport.LinkStats {
	if p.now == nil {
		return p.past
	}
	s := p.now.Stats()
	s.BytesIn += p.past.BytesIn
	s.BytesOut += p.past.BytesOut
	s.MessagesIn += p.past.MessagesIn
	s.MessagesOut += p.past.MessagesOut
	s.Dropped += p.past.Dropped
	s.Unknown += p.past.Unknown
	return s
}

// of returns the sum of a peer's links, and how many there were.
func (t *linkTotals) of(peer string) (transport.LinkStats, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[peer]
	if p == nil {
		return transport.LinkStats{}, 0
	}
	return p.sum(), p.links
}
