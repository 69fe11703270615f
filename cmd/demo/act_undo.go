package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/meridiandb/meridian/api/client"
)

const (
	pathConflicts = "/v1/conflicts"
	// stateUndone is that of a conflict of which a version was brought back.
	stateUndone = "undone"
)

// undone: the conflict log, with a preview and a restore of the price.
func (w *walk) undone(ctx context.Context) error {
	w.scene(sceneUndo)
	w.say(storyUndo)
	list := get(pathConflicts + "?collection=prices&limit=1")
	w.show(here, list)
	logs, err := w.logs(ctx, list)
	if err != nil {
		return err
	}
	one := len(logs[here].Conflicts) == 1
	for _, p := range logs {
		one = one && len(p.Conflicts) == 1 && p.Conflicts[0].ID == logs[here].Conflicts[0].ID
	}
	w.check(one, claimLogged, fmt.Sprintf("the logs have %d and %d of them", len(logs[here].Conflicts), len(logs[there].Conflicts)))
	if !one {
		return nil
	}
	c := logs[here].Conflicts[0]
	path := pathConflicts + "/" + c.ID
	var loser client.ConflictVersion
	for _, v := range c.Versions {
		if !v.Shown {
			loser = v
		}
	}
	a, err := w.send(ctx, here, get(path), http.StatusOK)
	if err != nil {
		return err
	}
	full := &client.ExplainedConflict{}
	if err := json.Unmarshal(a.body, full); err != nil {
		return err
	}
	w.show(here, get(path))
	w.say(fmt.Sprintf(storyLogged, w.names[here], full.Explanation))
	if err := w.previewPrice(ctx, path, loser); err != nil {
		return err
	}

	w.say(storyRestore)
	restore := post(path+"/restore", `{"dot":"`+loser.Dot+`"}`)
	w.show(here, restore)
	if _, err := w.send(ctx, here, restore, http.StatusOK); err != nil {
		return err
	}
	if _, err := w.settle(ctx); err != nil {
		return err
	}
	views, err := w.compare(ctx, true, pathPrice)
	if err != nil {
		return err
	}
	if logs, err = w.logs(ctx, list); err != nil {
		return err
	}
	back := w.allAre(views, valueOf(full, loser.Dot))
	for _, p := range logs {
		back = back && len(p.Conflicts) == 1 && p.Conflicts[0].State == stateUndone
	}
	w.check(back, fmt.Sprintf(claimRestored, loser.Region), w.differing(views))
	return nil
}

// valueOf is the value of a version.
func valueOf(c *client.ExplainedConflict, dot string) string {
	for _, v := range c.Versions {
		if v.Dot == dot {
			return string(v.Value)
		}
	}
	return ""
}

// previewPrice asks what another policy would make of the conflict.
func (w *walk) previewPrice(ctx context.Context, path string, loser client.ConflictVersion) error {
	w.say(fmt.Sprintf(storyPreview, loser.Region))
	before, err := w.looks(ctx, get(pathPrice))
	if err != nil {
		return err
	}
	ask := post(path+"/preview", `{"policy":{"region-priority":["`+loser.Region+`"]}}`)
	w.show(here, ask)
	a, err := w.send(ctx, here, ask, http.StatusOK)
	if err != nil {
		return err
	}
	p := &client.ConflictPreview{}
	if err := json.Unmarshal(a.body, p); err != nil {
		return err
	}
	diff, err := json.Marshal(p.Diff)
	if err != nil {
		return err
	}
	w.table([][]string{{"now", "change"}, {string(p.Now), string(diff)}})
	after, err := w.looks(ctx, get(pathPrice))
	if err != nil {
		return err
	}
	w.check(p.Changes && p.Outcome.Shown == loser.Dot && same(append(before, after...)), claimPreview, w.differing(after))
	return nil
}

// logs reads the conflict logs of all regions.
func (w *walk) logs(ctx context.Context, list request) ([]client.ConflictPage, error) {
	pages := make([]client.ConflictPage, len(w.names))
	return pages, w.everywhere(func(i int) error {
		a, err := w.send(ctx, i, list, http.StatusOK)
		if err != nil {
			return err
		}
		return json.Unmarshal(a.body, &pages[i])
	})
}
