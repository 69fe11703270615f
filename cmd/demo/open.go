package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/topology"
)

// Regions by their part in the story.
const (
	here  = 0 // where most is written
	there = 1 // which is cut off
)

// opening waits until the regions are up and know each other, and shows them.
func (w *walk) opening(ctx context.Context) error {
	up, err := w.until(ctx, stepLimit, func() (bool, error) { return w.ready(ctx) })
	if err != nil {
		return err
	}
	if !up {
		return fmt.Errorf("the regions did not find each other within %v", stepLimit)
	}
	w.say(introduction(w.cfg.Topology, w.names))
	rows := [][]string{{"region", "HTTP API", "linked with"}}
	for i, name := range w.names {
		rows = append(rows, []string{name, w.urls[i], linkedWith(w.cfg.Topology, w.names, name)})
	}
	w.table(rows)
	w.say(fmt.Sprintf(storyFolder, w.cluster.data))
	return nil
}

// linkedWith names the neighbours of a region.
func linkedWith(kind topology.Kind, names []string, self string) string {
	near := neighbours(kind, names, self)
	switch {
	case len(names) == 1:
		return "nobody"
	case len(near) == len(names)-1 && len(near) > 1:
		return "all others"
	}
	return strings.Join(near, ", ")
}

// ready reports whether all regions take writes and hold what the others do, each
// of which has announced itself by a change.
func (w *walk) ready(ctx context.Context) (bool, error) {
	err := w.everywhere(func(i int) error {
		_, err := w.send(ctx, i, get("/readyz"), http.StatusOK)
		return err
	})
	if errors.Is(err, errStatus) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	lags, err := w.lags(ctx)
	if err != nil || slices.Max(lags) > 0 {
		return false, err
	}
	for i, name := range w.names {
		s, err := w.status(ctx, i)
		if err != nil || len(s.Vector) < len(w.names) {
			return false, err
		}
		for _, p := range neighbours(w.cfg.Topology, w.names, name) {
			if peer(s, p).Link.State != "up" {
				return false, nil
			}
		}
	}
	return true, nil
}

// neighbours are the regions that one is linked with when all is well.
func neighbours(kind topology.Kind, names []string, self string) []string {
	return topology.Make(self, names, shape(kind, names), nil, nil).Peers()
}

func starting(regions int) string {
	if regions == 1 {
		return fmt.Sprintf(storyStarting, "one region")
	}
	return fmt.Sprintf(storyStarting, fmt.Sprintf("%d regions", regions))
}

// introduction says what there is.
func introduction(kind topology.Kind, names []string) string {
	if len(names) == 1 {
		return storyAlone
	}
	links := storyMesh
	switch {
	case len(names) == 2:
		links = storyPair
	case kind == topology.Ring:
		links = storyRing
	case kind == topology.Star:
		links = fmt.Sprintf(storyStar, names[0])
	}
	return fmt.Sprintf(storyOpening, len(names), links)
}

// prepare makes the collections and documents that the acts start with, and waits
// until all regions have them. What an earlier walk left in a kept folder goes.
func (w *walk) prepare(ctx context.Context) error {
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	for _, c := range collections {
		if _, err := w.send(ctx, here, put("/v1/collections/"+c.name, c.settings), http.StatusOK, http.StatusCreated); err != nil {
			return err
		}
	}
	for _, path := range ownDocuments() {
		if _, err := w.send(ctx, here, del(path), http.StatusNoContent, http.StatusNotFound); err != nil {
			return err
		}
	}
	for path, text := range accounts {
		if _, err := w.send(ctx, here, put(path, text), http.StatusCreated); err != nil {
			return err
		}
	}
	for _, e := range edits {
		if _, err := w.send(ctx, here, put(e.path, e.before), http.StatusCreated); err != nil {
			return err
		}
	}
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	return nil
}

// closing sums up, and says what to try while the regions stay up.
func (w *walk) closing() {
	if w.cfg.SkipWalk {
		w.line(fmt.Sprintf(storyUp, len(w.names)))
	} else {
		w.summary()
	}
	if w.cfg.Exit {
		return
	}
	w.blank()
	w.say(storyTry)
	far := len(w.names) - 1
	w.commands(
		w.curl(here, put(pathTry, `{"hello":"world"}`)),
		w.curl(far, get(pathTry)),
		w.curl(here, get("/v1/cluster")),
	)
	if far > 0 {
		next := w.neighbour()
		w.say(fmt.Sprintf(storyNotes, w.names[here], w.names[there]))
		w.blank()
		w.line("    " + w.paint(yellow, w.notesURL()))
		w.blank()
		w.say(fmt.Sprintf(storyByHand, w.names[here], w.names[next]))
		w.show(here, linkFault(w.names[next], faultCut), linkFault(w.names[next], faultUp))
	}
	if w.cluster.temp {
		w.say(fmt.Sprintf(storyTemporary, w.cluster.logPath()))
	} else {
		w.say(fmt.Sprintf(storyKept, w.cluster.data, w.cluster.logPath()))
	}
}

func (w *walk) summary() {
	took := time.Since(w.spoken).Round(100 * time.Millisecond)
	text := fmt.Sprintf("✓ All %d checks passed, in %v.", w.checks, took)
	color := green
	if n := w.failures(); n > 0 {
		text = fmt.Sprintf("✗ %d of %d checks failed; they are marked ✗ above.", n, w.checks)
		color = red
	}
	w.blank()
	w.line(w.paint(dim, strings.Repeat("─", w.width)))
	w.line(w.paint(color, text))
	if w.failures() > 0 {
		w.say(storyFailed)
	}
}
