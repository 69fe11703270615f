package region

import runtimemetrics "runtime/metrics"

// ProcessStatus is what the process takes of the machine, now and since its
// start. Several regions of one process tell the same. What the system does not
// tell is 0.
type ProcessStatus struct {
	UptimeSeconds float64 `json:"uptime_seconds"`
	// CPUSeconds is what it has computed, of user and system together.
	CPUSeconds float64 `json:"cpu_seconds"`
	// RSSBytes is resident memory, pages of mapped files included.
	RSSBytes     int64 `json:"rss_bytes"`
	PeakRSSBytes int64 `json:"peak_rss_bytes"`
	// HeapBytes is what lives on the heap, or was not collected yet; Allocations
	// and AllocatedBytes are all that was ever put there.
	HeapBytes          uint64 `json:"heap_bytes"`
	Allocations        uint64 `json:"allocations"`
	AllocatedBytes     uint64 `json:"allocated_bytes"`
	GarbageCollections uint64 `json:"garbage_collections"`
	Goroutines         uint64 `json:"goroutines"`
	// DiskWrittenBytes is what was given to the disk to write.
	DiskWrittenBytes int64 `json:"disk_written_bytes"`
}

func (r *Region) process() ProcessStatus {
	s := ProcessStatus{UptimeSeconds: r.cfg.Clock().Sub(r.started).Seconds()}
	for name, to := range map[string]*uint64{
		"/memory/classes/heap/objects:bytes": &s.HeapBytes,
		"/gc/heap/allocs:objects":            &s.Allocations,
		"/gc/heap/allocs:bytes":              &s.AllocatedBytes,
		"/gc/cycles/total:gc-cycles":         &s.GarbageCollections,
		"/sched/goroutines:goroutines":       &s.Goroutines,
	} {
		sample := []runtimemetrics.Sample{{Name: name}}
		if runtimemetrics.Read(sample); sample[0].Value.Kind() == runtimemetrics.KindUint64 {
			*to = sample[0].Value.Uint64()
		}
	}
	s.system()
	return s
}
