package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// reportFormat is the version of Report.
const reportFormat = 1

// A Report is what a run has measured.
type Report struct {
	Format  int       `json:"format"`
	Started time.Time `json:"started"`
	Machine Machine   `json:"machine"`
	Config  Config    `json:"config"`
	// Loaded is what was written before.
	Loaded Loaded `json:"loaded"`
	// Seconds is how long was measured.
	Seconds float64 `json:"seconds"`
	// Total counts all operations, Operations those of each kind.
	Total      Operation   `json:"total"`
	Operations []Operation `json:"operations"`
	// Failed counts what was not done, by what the answer said.
	Failed map[string]int64 `json:"failed,omitempty"`
	// Late is by how much clients of an open loop woke too late by themselves.
	Late *Latency `json:"late,omitempty"`
	// Visible is how soon writes were visible elsewhere; Unfollowed counts those
	// that were lost sight of.
	Visible     []Visibility `json:"visible,omitempty"`
	Unfollowed  int64        `json:"unfollowed,omitempty"`
	Replication *Replication `json:"replication,omitempty"`
	Feeds       *Feeds       `json:"feeds,omitempty"`
	// Conflicts is how many were seen, in all regions together.
	Conflicts uint64   `json:"conflicts,omitempty"`
	Regions   []Region `json:"regions"`
	// Checked is what was found right at the end.
	Checked string `json:"checked,omitempty"`
}

// Machine is where the clients ran.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
}

// Loaded is what was written before the load.
type Loaded struct {
	Documents int     `json:"documents"`
	Seconds   float64 `json:"seconds"`
}

// An Operation is the figures of one kind of request.
type Operation struct {
	Name string `json:"name"`
	// PerSecond is how many succeeded.
	PerSecond float64 `json:"per_second"`
	Latency
}

// Replication is what went between the regions.
type Replication struct {
	// Changes is how many were made, VisiblePerSecond how many became visible in
	// all regions per second while the load ran.
	Changes          uint64  `json:"changes"`
	VisiblePerSecond float64 `json:"visible_per_second"`
	// Backlog is how many changes some region lacked when the load ended, and
	// DrainSeconds how long that took.
	Backlog      uint64  `json:"backlog"`
	DrainSeconds float64 `json:"drain_seconds"`
	// FrameBytes are those of the regions' messages, WireBytes those of the
	// packets that carry them, sent by all regions together, per change. Payload
	// is the bytes of JSON that a change was made of.
	FrameBytes float64 `json:"frame_bytes_per_change"`
	WireBytes  float64 `json:"wire_bytes_per_change"`
	Payload    float64 `json:"payload_bytes_per_change"`
}

// A Region is what the run took of one region. What is per operation is per
// operation of the whole run, in whichever region.
type Region struct {
	Region string `json:"region"`
	// CPU is how many processors were busy for it.
	CPU          float64 `json:"cpus"`
	RSSBytes     int64   `json:"rss_bytes"`
	PeakRSSBytes int64   `json:"peak_rss_bytes"`
	HeapBytes    uint64  `json:"heap_bytes"`
	// Allocations and AllocatedBytes are per operation.
	Allocations    float64 `json:"allocations_per_operation"`
	AllocatedBytes float64 `json:"allocated_bytes_per_operation"`
	Collections    uint64  `json:"garbage_collections"`
	// DiskBytes is what the store takes at the end.
	DiskBytes int64 `json:"disk_bytes"`
	// Written is how many bytes went to the disk for each byte of JSON written; 0
	// where that cannot be known.
	Written float64 `json:"disk_written_per_byte"`
	// Process is false where the region does not tell of its process.
	Process bool `json:"process"`
}

func newReport(cfg *Config) *Report {
	return &Report{
		Format: reportFormat, Started: time.Now().UTC().Truncate(time.Second), Config: *cfg,
		Machine: Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()},
	}
}

// operations takes what the clients have counted.
func (r *Report) operations(l *load, took time.Duration) {
	m := l.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Seconds = took.Seconds()
	all := newHistogram()
	for o, h := range m.total {
		if h == nil {
			continue
		}
		all.Merge(h)
		r.Operations = append(r.Operations, Operation{op(o).String(), float64(h.TotalCount()) / r.Seconds, latencyOf(h)})
	}
	r.Total = Operation{"total", float64(all.TotalCount()) / r.Seconds, latencyOf(all)}
	r.Failed = maps.Clone(m.failed)
	if m.late.TotalCount() > 0 {
		late := latencyOf(m.late)
		r.Late = &late
	}
}

// replication takes what the regions have told: before and after the load, and
// when they all held the same.
func (r *Report) replication(l *load, before, after, last snapshot, drained time.Duration) {
	operations := float64(max(r.Total.Count, 1))
	payload := float64(max(l.payload.Load(), 1))
	seconds := after.at.Sub(before.at).Seconds()
	for i, t := range last.regions {
		b, a := &before.regions[i], &after.regions[i]
		reg := Region{Region: t.Region, DiskBytes: t.Storage.Records + t.Storage.Journal}
		if p := a.Process; p != nil && b.Process != nil {
			reg.Process = true
			reg.CPU = (p.CPUSeconds - b.Process.CPUSeconds) / seconds
			reg.RSSBytes, reg.PeakRSSBytes, reg.HeapBytes = p.RSSBytes, p.PeakRSSBytes, p.HeapBytes
			reg.Allocations = float64(p.Allocations-b.Process.Allocations) / operations
			reg.AllocatedBytes = float64(p.AllocatedBytes-b.Process.AllocatedBytes) / operations
			reg.Collections = p.GarbageCollections - b.Process.GarbageCollections
			if l.workload.writes() {
				reg.Written = float64(p.DiskWrittenBytes-b.Process.DiskWrittenBytes) / payload
			}
		}
		r.Regions = append(r.Regions, reg)
		r.Conflicts += seen(&last.regions[i]) - seen(b)
	}
	if len(last.regions) < 2 || !l.workload.writes() {
		return
	}
	made := float64(max(last.anywhere()-before.anywhere(), 1))
	frames, wire := sent(before, last)
	r.Replication = &Replication{
		Changes:          last.anywhere() - before.anywhere(),
		VisiblePerSecond: float64(after.everywhere()-before.everywhere()) / seconds,
		Backlog:          after.anywhere() - after.everywhere(), DrainSeconds: drained.Seconds(),
		FrameBytes: frames / made, WireBytes: wire / made,
		Payload: payload / float64(max(l.written.Load(), 1)),
	}
}

// seen counts the conflicts that a region has seen since its start.
func seen(c *client.Cluster) (n uint64) {
	for _, s := range c.Conflicts.Seen {
		n += s.Seen
	}
	return n
}

// sent sums what all regions have sent to all others between two moments. A link
// that was made anew in between has counted from 0.
func sent(before, after snapshot) (frames, wire float64) {
	for i := range after.regions {
		then := map[string]client.Link{}
		for _, r := range before.regions[i].Regions {
			then[r.Region] = r.Link
		}
		for _, r := range after.regions[i].Regions {
			b := then[r.Region]
			if r.Link.BytesOut < b.BytesOut || r.Link.WireOut < b.WireOut {
				b = client.Link{}
			}
			frames += float64(r.Link.BytesOut - b.BytesOut)
			wire += float64(r.Link.WireOut - b.WireOut)
		}
	}
	return frames, wire
}

// failures are the kinds of failures, the most frequent first.
func (r *Report) failures() []string {
	kinds := slices.Collect(maps.Keys(r.Failed))
	slices.SortFunc(kinds, func(a, b string) int {
		if d := r.Failed[b] - r.Failed[a]; d != 0 {
			return int(min(max(d, -1), 1))
		}
		if a < b {
			return -1
		}
		return 1
	})
	return kinds
}

// counterIn reads the counter in a document of the workload.
func counterIn(doc []byte) (int64, error) {
	var v struct {
		N *int64 `json:"n"`
	}
	if err := json.Unmarshal(doc, &v); err != nil || v.N == nil {
		return 0, fmt.Errorf("%.100q is no document with a counter", doc)
	}
	return *v.N, nil
}

// ParseReport reads a report as it was written as JSON.
func ParseReport(b []byte) (*Report, error) {
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("this is no report of a benchmark: %w", err)
	}
	if r.Format != reportFormat {
		return nil, fmt.Errorf("this is no report of a benchmark that can be read here: its format is %d, not %d", r.Format, reportFormat)
	}
	return r, nil
}
