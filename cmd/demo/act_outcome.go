package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/api/client"
)

// actOutcome shows what became of the edits of act 3.
func (w *walk) actOutcome(ctx context.Context) error {
	w.say(storyOutcome)
	for _, scene := range []func(context.Context) error{
		w.merged, w.lists, w.counted, w.undeleted, w.lastWrite, w.priority, w.siblings, w.undone,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// merged: fields of one document.
func (w *walk) merged(ctx context.Context) error {
	w.scene(sceneMerged)
	w.say(storyMerged)
	w.show(here, get(pathCart))
	views, err := w.compare(ctx, false, pathCart)
	if err != nil {
		return err
	}
	const want = `{"gift":true,"name":"Ana","ship":{"day":"Mon","door":2},"vip":true}`
	w.check(w.allAre(views, want) && views[here].conflicts == "0", claimMerged, w.differing(views))
	return nil
}

// allAre reports whether all regions show a document as it should be.
func (w *walk) allAre(views []view, want string) bool {
	return !slices.ContainsFunc(views, func(v view) bool { return v.value != want })
}

// lists: insertions at one place, and an element that both sides moved.
func (w *walk) lists(ctx context.Context) error {
	w.scene(sceneLists)
	w.say(storyLists)
	views, err := w.compare(ctx, true, pathList)
	if err != nil {
		return err
	}
	a, b := `"bread","butter"`, `"rice","beans"`
	ok := w.allAre(views, `{"items":["tea",`+a+`,`+b+`,"soap"]}`) || w.allAre(views, `{"items":["tea",`+b+`,`+a+`,"soap"]}`)
	w.check(ok, claimInserted, w.differing(views))
	if views, err = w.compare(ctx, true, pathOrder); err != nil {
		return err
	}
	ok = w.allAre(views, `{"items":["soap","tea","milk"]}`) || w.allAre(views, `{"items":["tea","soap","milk"]}`)
	w.check(ok, claimMoved, w.differing(views))
	return nil
}

// counted: increments from all regions.
func (w *walk) counted(ctx context.Context) error {
	w.scene(sceneCounted)
	w.say(fmt.Sprintf(storyCounted, increments))
	views, err := w.compare(ctx, true, pathLikes)
	if err != nil {
		return err
	}
	sum := increments * len(w.names)
	w.check(w.allAre(views, fmt.Sprintf(`{"likes":%d}`, sum)), fmt.Sprintf(claimCounted, len(w.names), increments, sum), w.differing(views))
	return nil
}

// undeleted: a deletion and an edit.
func (w *walk) undeleted(ctx context.Context) error {
	w.scene(sceneUndeleted)
	w.say(fmt.Sprintf(storyUndeleted, w.names[here], w.names[there]))
	views, err := w.compare(ctx, true, pathGone)
	if err != nil {
		return err
	}
	const want = `{"gift":true,"items":["milk","eggs"],"name":"Ben"}`
	w.check(w.allAre(views, want), claimUndeleted, w.differing(views))
	return nil
}

// lastWrite: a register under lww.
func (w *walk) lastWrite(ctx context.Context) error {
	w.scene(sceneLastWrite)
	w.say(storyLastWrite)
	w.show(here, get(pathPrice+"/versions"))
	views, err := w.compare(ctx, false, pathPrice)
	if err != nil {
		return err
	}
	w.check(same(views), claimOneValue, w.differing(views))
	return w.explain(ctx, pathPrice, views, func(shown, other client.Version) bool { return shown.Time > other.Time })
}

// priority: a register under region-priority.
func (w *walk) priority(ctx context.Context) error {
	w.scene(scenePriority)
	w.say(fmt.Sprintf(storyPriority, w.names[there], w.names[here]))
	views, err := w.compare(ctx, true, pathTax)
	if err != nil {
		return err
	}
	w.check(same(views), fmt.Sprintf(claimPriority, w.names[there]), w.differing(views))
	return w.explain(ctx, pathTax, views, func(shown, _ client.Version) bool { return shown.Region == w.names[there] })
}

// explain shows the two versions of a register in conflict, with the reason that
// the region gives, and checks that the right one is shown, everywhere.
func (w *walk) explain(ctx context.Context, path string, views []view, right func(shown, other client.Version) bool) error {
	v, err := w.versions(ctx, here, path)
	if err != nil {
		return err
	}
	if len(v.Conflicts) != 1 || len(v.Conflicts[0].Versions) != 2 {
		w.check(false, claimLoserListed, fmt.Sprintf("there are %d conflicts", len(v.Conflicts)))
		return nil
	}
	c := v.Conflicts[0]
	shown, other := c.Versions[0], c.Versions[1]
	if other.Shown {
		shown, other = other, shown
	}
	ok := shown.Shown && !other.Shown && c.Why != "" && w.allAre(views, string(shown.Value)) && right(shown, other)
	w.check(ok, claimLoserListed, c.Why)
	w.table([][]string{
		{"version of", "written at", "value", ""},
		{shown.Region, clock(shown.Time), string(shown.Value), "shown"},
		{other.Region, clock(other.Time), string(other.Value), "kept beside it"},
	})
	w.say(fmt.Sprintf(storyWhy, w.names[here], c.Why))
	return nil
}

// clock is the time of day in a version's time.
func clock(t string) string {
	_, t, _ = strings.Cut(t, "T")
	return strings.TrimSuffix(t, "Z")
}

func (w *walk) versions(ctx context.Context, region int, path string) (*client.Versions, error) {
	a, err := w.send(ctx, region, get(path+"/versions"), http.StatusOK)
	if err != nil {
		return nil, err
	}
	v := &client.Versions{}
	return v, json.Unmarshal(a.body, v)
}

// siblings: a register whose conflicts are left to the client.
func (w *walk) siblings(ctx context.Context) error {
	w.scene(sceneSiblings)
	w.say(storySiblings)
	far := len(w.names) - 1
	ask := get(pathMenu).with("Accept", mediaSiblings)
	w.show(far, ask)
	views := make([]view, len(w.names))
	tag := ""
	both := true
	for i := range w.names {
		a, err := w.send(ctx, i, ask, http.StatusMultipleChoices, http.StatusOK)
		if err != nil {
			return err
		}
		all := &client.Versions{}
		if err := json.Unmarshal(a.body, all); err != nil {
			return err
		}
		views[i] = view{fmt.Sprintf("%d, %s", a.status, listed(all)), a.header.Get(client.HeaderConflictCount)}
		both = both && a.status == http.StatusMultipleChoices && len(all.Versions) == 2 && (tag == "" || tag == a.etag())
		tag = a.etag()
	}
	w.blank()
	w.check(both, claimSiblings, w.differing(views))
	if err := w.compared(ctx, false, views); err != nil {
		return err
	}
	w.say(fmt.Sprintf(storyResolve, w.names[far]))
	answer := `{"soup":"leek and onion"}`
	resolve := put(pathMenu, answer).with("If-Match", tag)
	w.show(far, resolve)
	if _, err := w.send(ctx, far, resolve, http.StatusOK); err != nil {
		return err
	}
	if _, err := w.settle(ctx); err != nil {
		return err
	}
	after, err := w.looks(ctx, ask)
	if err != nil {
		return err
	}
	left, err := w.versions(ctx, here, pathMenu)
	if err != nil {
		return err
	}
	if err := w.compared(ctx, true, after); err != nil {
		return err
	}
	w.check(w.allAre(after, answer) && len(left.Versions) == 1, claimResolved, w.differing(after))
	return nil
}

// listed names the values of all versions.
func listed(v *client.Versions) string {
	var values []string
	for _, x := range v.Versions {
		values = append(values, string(x.Value))
	}
	return strings.Join(values, " and ")
}
