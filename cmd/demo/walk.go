package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/api/client"
)

// A walk is one run of the story.
type walk struct {
	*stage
	cfg     *Config
	http    *browser
	cluster *cluster
	names   []string
	urls    []string
	spoken  time.Time // when the first act began

	checks, passed int
	cuts           []cut
}

// A cut is a link that is cut at one of its ends.
type cut struct{ at, to int }

func newWalk(s *stage, c *cluster, cfg *Config) *walk {
	return &walk{stage: s, cfg: cfg, http: newBrowser(cfg.Transport), cluster: c, names: c.names, urls: c.urls()}
}

func (w *walk) failures() int { return w.checks - w.passed }

// check tells whether a claim holds, and what was found if it does not.
func (w *walk) check(ok bool, claim, found string) {
	w.checks++
	if ok {
		w.passed++
	}
	w.stage.check(ok, claim, found)
}

// An act is a part of the story. It needs so many regions.
type act struct {
	title string
	needs int
	play  func(w *walk, ctx context.Context) error
}

// The acts, in order. Each leaves behind what the next one starts with.
var acts = []act{
	{titleWrite, 1, (*walk).actWrite},
	{titleCut, 2, (*walk).actCut},
	{titleEdits, 2, (*walk).actEdits},
	{titleHeal, 2, (*walk).actHeal},
	{titleOutcome, 2, (*walk).actOutcome},
	{titlePolicies, 2, (*walk).actPolicies},
	{titleCare, 1, (*walk).actCare},
	{titleTypes, 2, (*walk).actTypes},
}

// acts plays all acts. An act that comes to no end counts as a failed check; only
// the end of ctx is an error.
func (w *walk) acts(ctx context.Context) error {
	w.spoken = time.Now()
	if err := w.prepare(ctx); err != nil {
		return err
	}
	for i, a := range acts {
		w.title(i+1, a.title)
		if len(w.names) < a.needs {
			w.say(storySkipped)
			continue
		}
		err := a.play(w, ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			w.check(false, claimPlayed, err.Error())
		}
	}
	return nil
}

// send sends a request to a region. Any of the given statuses is fine, others are
// an error.
func (w *walk) send(ctx context.Context, region int, q request, statuses ...int) (*answer, error) {
	a, err := w.http.send(ctx, w.urls[region], q)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(statuses, a.status) {
		return a, unexpected(w.urls[region], q, a)
	}
	return a, nil
}

// show shows how to send requests to a region by hand.
func (w *walk) show(region int, requests ...request) {
	texts := make([]string, len(requests))
	for i, q := range requests {
		texts[i] = w.curl(region, q)
	}
	w.commands(texts...)
}

func (w *walk) curl(region int, q request) string {
	return q.curl(w.urls[region], w.width-2*margin)
}

// everywhere does something for all regions at once.
func (w *walk) everywhere(do func(region int) error) error {
	var g errgroup.Group
	for i := range w.names {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

// until waits for a condition. It reports whether it came true within the limit.
func (w *walk) until(ctx context.Context, limit time.Duration, cond func() (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := cond()
		if ok || err != nil {
			return ok, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, nil
		}
	}
}

// status asks a region how it sees the cluster.
func (w *walk) status(ctx context.Context, region int) (*client.Cluster, error) {
	a, err := w.send(ctx, region, get("/v1/cluster"), http.StatusOK)
	if err != nil {
		return nil, err
	}
	s := &client.Cluster{}
	return s, json.Unmarshal(a.body, s)
}

// peer is how a region sees another one.
func peer(s *client.Cluster, name string) client.Region {
	for _, r := range s.Regions {
		if r.Region == name {
			return r
		}
	}
	return client.Region{}
}

// lags asks all regions for their vectors and tells how many changes each of them
// lacks that another one has.
func (w *walk) lags(ctx context.Context) ([]uint64, error) {
	vectors := make([]client.Vector, len(w.names))
	err := w.everywhere(func(i int) error {
		s, err := w.status(ctx, i)
		if err == nil {
			vectors[i] = s.Vector
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return missing(vectors), nil
}

func missing(vectors []client.Vector) []uint64 {
	most := client.Vector{}
	for _, v := range vectors {
		for replica, seq := range v {
			most[replica] = max(most[replica], seq)
		}
	}
	out := make([]uint64, len(vectors))
	for i, v := range vectors {
		for replica, seq := range most {
			out[i] += seq - v[replica]
		}
	}
	return out
}

// errApart says that settle has waited in vain.
var errApart = fmt.Errorf("the regions did not come to hold the same within %v", stepLimit)

// settle waits until all regions hold the same, and reports whether they do.
func (w *walk) settle(ctx context.Context) (bool, error) {
	return w.until(ctx, stepLimit, func() (bool, error) {
		lags, err := w.lags(ctx)
		return err == nil && slices.Max(lags) == 0, err
	})
}

// A view is what a region shows of something.
type view struct {
	value     string
	conflicts string
}

// look reads a document in a region.
func (w *walk) look(ctx context.Context, region int, q request) (view, error) {
	a, err := w.send(ctx, region, q, http.StatusOK, http.StatusMultipleChoices, http.StatusNotFound)
	if err != nil {
		return view{}, err
	}
	v := view{value: a.text(), conflicts: a.header.Get(client.HeaderConflictCount)}
	if a.status == http.StatusNotFound {
		v.value = none
	}
	if v.conflicts == "" {
		v.conflicts = "0"
	}
	return v, nil
}

// none stands for a document that is not there.
const none = "(not there)"

// looks reads a document in all regions.
func (w *walk) looks(ctx context.Context, q request) ([]view, error) {
	views := make([]view, len(w.names))
	err := w.everywhere(func(i int) (err error) {
		views[i], err = w.look(ctx, i, q)
		return err
	})
	return views, err
}

// compare reads a document in all regions, and shows it as a table; in short, one
// row stands for all regions if they agree.
func (w *walk) compare(ctx context.Context, short bool, path string) ([]view, error) {
	views, err := w.looks(ctx, get(path))
	if err != nil {
		return nil, err
	}
	return views, w.compared(ctx, short, views)
}

func (w *walk) compared(ctx context.Context, short bool, views []view) error {
	lags, err := w.lags(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"region", "value", "conflicts", "lag"}}
	for i, v := range views {
		rows = append(rows, []string{w.names[i], v.value, v.conflicts, changes(lags[i])})
	}
	if short && len(rows) > 2 && same(views) && slices.Max(lags) == 0 {
		rows = rows[:2]
		rows[1][0] = fmt.Sprintf("all %d", len(views))
	}
	w.table(rows)
	return nil
}

// same reports whether all regions show the same.
func same(views []view) bool {
	return !slices.ContainsFunc(views, func(v view) bool { return v != views[0] })
}

// differing says what regions show, for a check that failed.
func (w *walk) differing(views []view) string {
	text := ""
	for i, v := range views {
		if i > 0 {
			text += ", "
		}
		text += w.names[i] + " shows " + v.value
	}
	return text
}

func changes(n uint64) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

// ms writes a duration as people read it.
func ms(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
