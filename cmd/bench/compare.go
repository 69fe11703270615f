package bench

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

// Compare tells what has changed from an older report to this one.
func (r *Report) Compare(old *Report) string {
	var b bytes.Buffer
	if differ := old.Config.differs(&r.Config); len(differ) > 0 {
		fmt.Fprintf(&b, "The runs are not alike: %s.\n", strings.Join(differ, ", "))
	}
	if old.Machine != r.Machine {
		fmt.Fprintf(&b, "The machines are not alike: %+v before, %+v now.\n", old.Machine, r.Machine)
	}
	g := newGrid(&b, "", "BEFORE", "NOW", "CHANGE")
	row := func(name string, before, now float64) {
		if before == 0 && now == 0 {
			return
		}
		change := "-"
		if before != 0 {
			change = fmt.Sprintf("%+.1f %%", 100*(now-before)/before)
		}
		g.row(name, figure(before), figure(now), change)
	}
	for _, now := range append(r.Operations[:len(r.Operations):len(r.Operations)], r.Total) {
		for _, before := range append(old.Operations[:len(old.Operations):len(old.Operations)], old.Total) {
			if before.Name != now.Name || now.Name == r.Total.Name && len(r.Operations) == 1 {
				continue
			}
			row(now.Name+"/s", before.PerSecond, now.PerSecond)
			row(now.Name+" p50 ms", before.P50, now.P50)
			row(now.Name+" p99 ms", before.P99, now.P99)
			row(now.Name+" p99.9 ms", before.P999, now.P999)
		}
	}
	row("failed", float64(old.failedTotal()), float64(r.failedTotal()))
	for _, now := range r.Visible {
		for _, before := range old.Visible {
			if before.From == now.From && before.To == now.To {
				name := now.From + " → " + now.To
				row(name+" p50 ms", before.Acknowledged.P50, now.Acknowledged.P50)
				row(name+" p99 ms", before.Acknowledged.P99, now.Acknowledged.P99)
			}
		}
	}
	if p, q := old.Feeds, r.Feeds; p != nil && q != nil {
		row("delivered/s", p.PerSecond, q.PerSecond)
		for _, now := range q.Deliveries {
			for _, before := range p.Deliveries {
				if before.From == now.From && before.To == now.To {
					name := "delivered " + now.From + " → " + now.To
					row(name+" p50 ms", before.P50, now.P50)
					row(name+" p99 ms", before.P99, now.P99)
				}
			}
		}
	}
	if p, q := old.Replication, r.Replication; p != nil && q != nil {
		row("visible in all regions/s", p.VisiblePerSecond, q.VisiblePerSecond)
		row("packet bytes per change", p.WireBytes, q.WireBytes)
	}
	for i := range r.Regions {
		for j := range old.Regions {
			now, before := &r.Regions[i], &old.Regions[j]
			if before.Region != now.Region || !before.Process || !now.Process {
				continue
			}
			row(now.Region+" CPUs", before.CPU, now.CPU)
			row(now.Region+" peak RSS MiB", float64(before.PeakRSSBytes)/(1<<20), float64(now.PeakRSSBytes)/(1<<20))
			row(now.Region+" allocations/op", before.Allocations, now.Allocations)
			row(now.Region+" bytes/op", before.AllocatedBytes, now.AllocatedBytes)
			row(now.Region+" written per byte", before.Written, now.Written)
		}
	}
	g.end()
	return b.String()
}

func figure(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *Report) failedTotal() (n int64) {
	for _, k := range r.Failed {
		n += k
	}
	return n
}

// differs lists the settings that are not the same, by their names in JSON.
func (c *Config) differs(other *Config) (names []string) {
	a, b := reflect.ValueOf(*c), reflect.ValueOf(*other)
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		// Where the regions are and how documents are drawn does not matter.
		if name == "-" || name == "addrs" || name == "seed" {
			continue
		}
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			names = append(names, fmt.Sprintf("%s %v, now %v", name, x, y))
		}
	}
	return names
}
