package drill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

const (
	// cutWithin is how long a link may take to go down.
	cutWithin = 10 * time.Second
	// compareFor is how long the regions wait for changes when documents are compared.
	compareFor = 10 * time.Second
	// maxExamples is how many lost writes a report names.
	maxExamples  = 20
	tellProgress = 500 * time.Millisecond
)

// Run carries out a drill. Whatever happens, what it has cut is healed when it
// returns; where that fails the link comes back by itself. An error says that the
// drill could not be carried out, or ended before its time; what it found is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	regions, err := connect(ctx, cfg.Addrs)
	defer func() {
		for _, r := range regions {
			r.client.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	d := &drill{cfg: cfg, regions: regions, report: &Report{Started: time.Now().UTC(), Cluster: regions[0].status.Cluster, Collection: cfg.Collection}}
	if d.cuts, d.report.Link, err = find(regions, cfg.Link); err != nil {
		return nil, err
	}
	for _, c := range d.cuts {
		d.report.Cuts = append(d.report.Cuts, Cut{c.at.name, c.peer})
	}
	d.report.NotChecked = d.others()
	d.load = newLoad(&cfg, regions, d.report.Started)
	if err := d.load.prepare(ctx); err != nil {
		return nil, err
	}
	d.observer = observe(regions)
	if err := d.partition(ctx); err != nil {
		return nil, err
	}
	if err := d.converge(ctx); err != nil {
		return nil, err
	}
	return d.report, d.judge(ctx)
}

type drill struct {
	cfg      Config
	regions  []*region
	cuts     []*cut
	load     *load
	observer *observer
	report   *Report
	healed   time.Time
}

// others names the regions that do not take part.
func (d *drill) others() []string {
	names := map[string]bool{}
	for _, r := range d.regions {
		for i := range r.status.Regions {
			names[r.status.Regions[i].Region] = true
		}
	}
	for _, r := range d.regions {
		delete(names, r.name)
	}
	return slices.Sorted(maps.Keys(names))
}

func (d *drill) note(format string, args ...any) {
	if d.cfg.Note != nil {
		d.cfg.Note(fmt.Sprintf(format, args...))
	}
}

func (d *drill) progress(format string, args ...any) {
	if d.cfg.Progress != nil {
		d.cfg.Progress(fmt.Sprintf(format, args...))
	}
}

// partition cuts the links, writes on all sides, and heals them.
func (d *drill) partition(ctx context.Context) (err error) {
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		stop()
		wg.Wait()
	}()
	wg.Go(func() { d.observer.run(writing) })
	// It heals before the writers are waited for.
	began := time.Now()
	defer func() {
		d.healed = time.Now()
		if healing := heal(ctx, d.cuts); healing != nil {
			err = errors.Join(err, healing)
			return
		}
		d.report.CutSeconds = d.healed.Sub(began).Seconds()
		d.note("The link is back after %v.", d.healed.Sub(began).Round(100*time.Millisecond))
	}()
	if err := sever(ctx, d.cuts, d.cfg.For); err != nil {
		return err
	}
	if err := d.down(ctx); err != nil {
		return err
	}
	began = time.Now()
	for _, c := range d.report.Cuts {
		d.note("The link %s is cut.", c)
	}
	wg.Go(func() { d.load.write(writing, d.cfg.Writes) })
	for {
		left := d.cfg.For - time.Since(began)
		if left <= 0 {
			return nil
		}
		if !wait(ctx, min(left, tellProgress)) {
			return ctx.Err()
		}
		_, peak := d.observer.peaks()
		d.progress("cut for %v of %v, %d writes acknowledged, lag up to %d changes",
			time.Since(began).Round(time.Second), d.cfg.For, d.load.acknowledged(), peak.Changes)
	}
}

// down waits until the links are.
func (d *drill) down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cutWithin)
	defer cancel()
	for _, c := range d.cuts {
		for {
			s, err := c.at.client.Cluster(ctx)
			if err == nil {
				now := region{status: s}
				if l := now.link(c.peer); l == nil || l.State != client.LinkUp {
					break
				}
			}
			if !wait(ctx, pollEvery) {
				return fmt.Errorf("the link %s – %s does not go down: %w", c.at.name, c.peer, errors.Join(err, ctx.Err()))
			}
		}
	}
	return nil
}

// converge waits until each region has what any of them had when the link came back.
func (d *drill) converge(ctx context.Context) error {
	limited, cancel := context.WithDeadline(ctx, d.healed.Add(d.cfg.Patience))
	defer cancel()
	goal := client.Vector{}
	for _, r := range d.regions {
		err := retry(limited, func() error {
			s, err := r.client.Cluster(limited)
			if err == nil {
				for replica, seq := range s.Vector {
					goal[replica] = max(goal[replica], seq)
				}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	for i, r := range d.regions {
		for {
			s, err := r.client.Cluster(limited)
			if err == nil {
				d.observer.take(i, s)
				behind := missing(s.Vector, goal)
				if behind == 0 {
					break
				}
				d.progress("back for %v, %s lacks %d changes", time.Since(d.healed).Round(100*time.Millisecond), r.name, behind)
			}
			if !wait(limited, pollEvery) {
				return ctx.Err() // without one, it has not converged
			}
		}
	}
	d.report.Converged, d.report.ConvergeSeconds = true, time.Since(d.healed).Seconds()
	d.note("All have the same changes %v later.", time.Since(d.healed).Round(time.Millisecond))
	return nil
}

// missing counts what a vector lacks.
func missing(have, goal client.Vector) (n uint64) {
	for replica, seq := range goal {
		n += seq - min(seq, have[replica])
	}
	return n
}

// judge compares the documents and looks for each write.
func (d *drill) judge(ctx context.Context) error {
	r := d.report
	for i := range d.regions {
		d.observer.look(ctx, i)
	}
	r.Writes = d.load.report()
	r.Lags, r.Peak = d.observer.peaks()
	r.Conflicts, r.ConflictsMade = d.observer.conflicts()
	d.progress("comparing documents")
	c, err := d.regions[0].client.Convergence(ctx, compareFor)
	if err != nil {
		return err
	}
	r.Documents = c.Verdict
	for _, at := range d.regions {
		d.progress("looking for all writes in %s", at.name)
		lost, err := d.load.lost(ctx, at)
		if err != nil {
			return err
		}
		r.Lost += len(lost)
		r.Examples = append(r.Examples, lost[:min(len(lost), maxExamples-len(r.Examples))]...)
	}
	r.Passed = r.Converged && r.Lost == 0 && r.Documents != client.VerdictDifferent
	if d.cfg.Keep || r.Lost > 0 {
		return nil
	}
	d.progress("deleting what was written")
	if err := d.load.remove(ctx); err != nil {
		d.note("Documents of the drill stay in the collection %s: %v", d.cfg.Collection, err)
	}
	return nil
}
