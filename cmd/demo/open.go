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
	w.say(fmt.Sprintf(storyOpening, w.count(), shapeWords(w.cfg.Topology, w.names)))
	rows := [][]string{{"region", "HTTP API", "store"}}
	for i, name := range w.names {
		rows = append(rows, []string{name, w.urls[i], w.cluster.folder(i)})
	}
	w.table(rows)
	return nil
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
	s, err := w.status(ctx, here)
	return err == nil && len(s.Vector) >= len(w.names), err
}

func starting(regions int) string {
	if regions == 1 {
		return fmt.Sprintf(storyStarting, "one region")
	}
	return fmt.Sprintf(storyStarting, fmt.Sprintf("%d regions", regions))
}

func (w *walk) count() string {
	if len(w.names) == 1 {
		return "One region is up on this machine"
	}
	return fmt.Sprintf("%d regions are up on this machine", len(w.names))
}

func shapeWords(kind topology.Kind, names []string) string {
	switch {
	case len(names) == 1:
		return storyAlone
	case len(names) == 2:
		return storyPair
	case kind == topology.Ring:
		return storyRing
	case kind == topology.Star:
		return fmt.Sprintf(storyStar, names[0])
	}
	return storyMesh
}

// prepare makes the collections and documents that the acts start with, and waits
// until all regions have them. What an earlier walk left in a kept folder goes.
func (w *walk) prepare(ctx context.Context) error {
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errors.New("the regions do not hold the same to start with"))
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
		return or(err, errors.New("the regions do not hold the same to start with"))
	}
	return nil
}

// closing sums up, and says what to try while the regions stay up.
func (w *walk) closing(context.Context) {
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
	w.show(here, put(pathTry, `{"hello":"world"}`))
	w.show(far, get(pathTry))
	w.show(here, get("/v1/cluster"))
	if far > 0 {
		w.blank()
		w.say(fmt.Sprintf(storyByHand, w.names[here], w.names[there]))
		w.show(here, linkFault(w.names[there], faultCut))
		w.show(here, linkFault(w.names[there], faultUp))
	}
	w.blank()
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
