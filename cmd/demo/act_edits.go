package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// actEdits edits the same documents on both sides of the cut. The side that is
// cut off goes first, so that by the clock the other one is newer.
func (w *walk) actEdits(ctx context.Context) error {
	w.say(fmt.Sprintf(storyEdits, w.names[there]))
	w.commands(w.curl(here, edits[0].here), w.curl(there, edits[0].there))
	rows := [][]string{{"document", "policy", "in " + w.names[here], "in " + w.names[there]}}
	var early, late []request
	for _, e := range edits {
		rows = append(rows, []string{short(e.path), e.policy, e.hereDoes, e.thereDoes})
		if e.path != pathLikes { // which all regions do, below
			early, late = append(early, e.there), append(late, e.here)
		}
	}
	first, err := w.sendAll(ctx, there, early)
	if err != nil {
		return err
	}
	second, err := w.sendAll(ctx, here, late)
	if err != nil {
		return err
	}
	counted, err := w.like(ctx)
	if err != nil {
		return err
	}
	w.table(rows)
	w.check(true, fmt.Sprintf(claimEdits, len(early)+len(late)+increments*len(w.names), ms(max(first, second, counted))), "")
	if err := w.sideSettles(ctx); err != nil {
		return err
	}
	views, err := w.looks(ctx, get(pathCart))
	if err != nil {
		return err
	}
	w.check(views[here] != views[there], fmt.Sprintf(claimApart, w.names[here], w.names[there]), w.differing(views))
	return w.compared(ctx, false, views)
}

// sendAll sends edits to a region, and returns how long the slowest took. When it
// returns the clock shows another millisecond than for any of them.
func (w *walk) sendAll(ctx context.Context, region int, edits []request) (slowest time.Duration, err error) {
	for _, q := range edits {
		a, err := w.send(ctx, region, q, http.StatusOK, http.StatusNoContent)
		if err != nil {
			return 0, err
		}
		slowest = max(slowest, a.took)
	}
	last := time.Now().UnixMilli()
	_, err = w.until(ctx, stepLimit, func() (bool, error) { return time.Now().UnixMilli() > last, nil })
	return slowest, err
}

// like increments a counter in all regions at once, and returns how long the
// slowest took.
func (w *walk) like(ctx context.Context) (time.Duration, error) {
	slowest := make([]time.Duration, len(w.names))
	err := w.everywhere(func(i int) error {
		for range increments {
			a, err := w.send(ctx, i, ops(pathLikes, addLike), http.StatusOK)
			if err != nil {
				return err
			}
			slowest[i] = max(slowest[i], a.took)
		}
		return nil
	})
	return slices.Max(slowest), err
}

// short is a document's path as collection/id.
func short(path string) string {
	return strings.Replace(strings.TrimPrefix(path, "/v1/collections/"), "/docs/", "/", 1)
}
