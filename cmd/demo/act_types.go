package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const (
	titleTypes = "The same edits in three types of documents"
	storyTypes = "A policy chooses what is shown; the type of a collection says what can be merged at all. A plan is kept three times, as a register, as a document and as an Automerge document. %s is cut off again, and on each side somebody sends the whole plan, edited, as a PUT:"
	storyKeeps = "Healed, this is what each of them keeps:"

	claimTypeRegister  = "the register shows one of the two plans, whole, and keeps the other beside it"
	claimTypeDocument  = "the document has both people that were added, and of the text one version; the other is kept beside it"
	claimTypeAutomerge = "the Automerge document has both people, and in the text what either side typed"
)

// The plan as it was, and as each side sends it.
const (
	planBefore = `{"people":["ana"],"text":"we meet on Monday"}`
	planHere   = `{"people":["ana","ben"],"text":"we meet on Monday at nine"}`
	planThere  = `{"people":["ana","cara"],"text":"Next week we meet on Monday"}`
	textBoth   = "Next week we meet on Monday at nine"
)

// planTypes are the types of collections. There is one of each, with the same plan.
var planTypes = []string{"register", "document", "automerge"}

func plan(kind string) string { return docPath("plans-"+kind, "week") }

// actTypes makes the same concurrent edits of a register, a document and an
// Automerge document.
func (w *walk) actTypes(ctx context.Context) error {
	for _, kind := range planTypes {
		settings := fmt.Sprintf(`{"type":%q}`, kind)
		if _, err := w.send(ctx, here, put(collectionPath("plans-"+kind), settings), http.StatusOK, http.StatusCreated); err != nil {
			return err
		}
		if _, err := w.send(ctx, here, put(plan(kind), planBefore), http.StatusOK, http.StatusCreated); err != nil {
			return err
		}
	}
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	w.say(fmt.Sprintf(storyTypes, w.names[there]))
	for i := range w.names {
		if i != there {
			if err := w.cut(ctx, there, i); err != nil {
				return err
			}
		}
	}
	if ok, err := w.apart(ctx, here, there); err != nil || !ok {
		return or(err, errApart)
	}
	last := planTypes[len(planTypes)-1]
	w.show(here, put(plan(last), planHere))
	w.show(there, put(plan(last), planThere))
	for _, kind := range planTypes {
		if _, err := w.send(ctx, here, put(plan(kind), planHere), http.StatusOK); err != nil {
			return err
		}
		if _, err := w.send(ctx, there, put(plan(kind), planThere), http.StatusOK); err != nil {
			return err
		}
	}
	if err := w.mend(ctx); err != nil {
		return err
	}
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	return w.kept(ctx)
}

// kept compares what became of the plans.
func (w *walk) kept(ctx context.Context) error {
	w.say(storyKeeps)
	rows := [][]string{{"type", "shown in all regions", "versions kept of"}}
	all := map[string][]view{}
	beside := map[string]int{}
	for _, kind := range planTypes {
		views, err := w.looks(ctx, get(plan(kind)))
		if err != nil {
			return err
		}
		versions, err := w.versions(ctx, here, plan(kind))
		if err != nil {
			return err
		}
		var places []string
		for _, c := range versions.Conflicts {
			places = append(places, cmp.Or(c.Path, "the whole"))
		}
		all[kind], beside[kind] = views, len(places)
		rows = append(rows, []string{kind, views[here].value, strings.Join(places, ", ")})
	}
	w.table(rows)
	check := func(kind, claim string, ok func(people []string, text string) bool) {
		var v struct {
			People []string
			Text   string
		}
		views := all[kind]
		good := json.Unmarshal([]byte(views[here].value), &v) == nil && w.allAre(views, views[here].value) && ok(v.People, v.Text)
		w.check(good, claim, w.differing(views))
	}
	both := func(people []string) bool { return slices.Contains(people, "ben") && slices.Contains(people, "cara") }
	check("register", claimTypeRegister, func([]string, string) bool {
		shown := all["register"][here].value
		return (shown == planHere || shown == planThere) && beside["register"] == 1
	})
	check("document", claimTypeDocument, func(people []string, text string) bool {
		return both(people) && (strings.Contains(planHere, text) || strings.Contains(planThere, text)) && beside["document"] == 1
	})
	check("automerge", claimTypeAutomerge, func(people []string, text string) bool { return both(people) && text == textBoth })
	return nil
}
