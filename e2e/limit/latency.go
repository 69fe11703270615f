package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/meridiandb/meridian/cmd/bench"
)

// A latencyTable tells what requests take at a rate that both can keep up with.
type latencyTable struct {
	*tabwriter.Writer
	rows int
}

func newLatencyTable() latencyTable {
	return latencyTable{Writer: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
}

// add puts in the medians of the rounds, in milliseconds.
func (t *latencyTable) add(f figure, rate float64, pipes, ours []*bench.Report) {
	if t.rows++; t.rows == 1 {
		fmt.Fprintln(t, "AT HALF LOAD, MS\tPER SECOND\tPIPE P50\tP99\tP99.9\tMERIDIAN P50\tP99\tP99.9\tOF P99")
	}
	fmt.Fprintf(t, "%s\t%.0f", f.unit, rate)
	for _, reports := range [][]*bench.Report{pipes, ours} {
		for _, q := range []func(*bench.Report) float64{p50, p99, p999} {
			fmt.Fprintf(t, "\t%.3g", median(values(reports, q)))
		}
	}
	rounds := values(ours, p99)
	fmt.Fprintf(t, "\t%.3g–%.3g\n", slices.Min(rounds), slices.Max(rounds))
}

func (t *latencyTable) print() error {
	if t.rows == 0 {
		return nil
	}
	if err := t.Flush(); err != nil {
		return err
	}
	half, most, err := syncTime()
	if err != nil {
		return err
	}
	fmt.Printf("a sync of the disk takes %.3g ms at the median, %.3g ms at the 99th percentile\n", half, most)
	return nil
}

func p50(r *bench.Report) float64  { return r.Total.P50 }
func p99(r *bench.Report) float64  { return r.Total.P99 }
func p999(r *bench.Report) float64 { return r.Total.P999 }

// syncTime is how long the disk takes to make four kilobytes durable, in milliseconds.
func syncTime() (half, most float64, err error) {
	f, err := os.CreateTemp("", "sync-")
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = f.Close() // it is for its time only
		_ = os.Remove(f.Name())
	}()
	const times = 500
	took := make([]float64, times)
	for i := range took {
		start := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		took[i] = float64(time.Since(start).Microseconds()) / 1000
	}
	slices.Sort(took)
	return took[times/2], took[times*99/100], nil
}
