package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Sample is a set of durations.
type Sample []time.Duration

// Quantile returns the duration that a share q of the sample does not exceed.
func (s Sample) Quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// String tells median, 99th percentile and maximum.
func (s Sample) String() string {
	const digits = 10 * time.Microsecond
	return fmt.Sprintf("median %v, p99 %v, max %v (n=%d)",
		s.Quantile(0.5).Round(digits), s.Quantile(0.99).Round(digits), s.Quantile(1).Round(digits), len(s))
}

// A Load sends requests at a fixed rate, whether or not the former ones have
// been answered.
type Load struct {
	// Rate is how many requests per second are due, over Duration.
	Rate     int
	Duration time.Duration
	// Workers bounds how many are under way at once.
	Workers int
	// Do sends request i.
	Do func(ctx context.Context, i int) error
}

// A Report tells how a load went.
type Report struct {
	Done, Failed int
	// Rate is how many succeeded per second.
	Rate float64
	// Latency is from when a request was due, so that waiting for a worker counts.
	Latency Sample
	// Err is the first failure.
	Err error
}

// String prints the figures.
func (r *Report) String() string {
	return fmt.Sprintf("%.0f/s done (%d, %d failed), %v", r.Rate, r.Done, r.Failed, r.Latency)
}

// Run sends the load until it is through or ctx ends.
func (l Load) Run(ctx context.Context) *Report {
	type job struct {
		i   int
		due time.Time
	}
	total := int(float64(l.Rate) * l.Duration.Seconds())
	jobs := make(chan job, total)
	report := &Report{}
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for range l.Workers {
		wg.Go(func() {
			for j := range jobs {
				err := l.Do(ctx, j.i)
				took := time.Since(j.due)
				mu.Lock()
				if err == nil {
					report.Done++
					report.Latency = append(report.Latency, took)
				} else if ctx.Err() == nil {
					report.Failed++
					if report.Err == nil {
						report.Err = err
					}
				}
				mu.Unlock()
			}
		})
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
feed:
	for i := range total {
		due := start.Add(time.Duration(float64(i) / float64(l.Rate) * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				break feed
			}
		}
		jobs <- job{i, due}
	}
	close(jobs)
	wg.Wait()
	report.Rate = float64(report.Done) / time.Since(start).Seconds()
	return report
}
