package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/region/webhook"
)

const (
	collectionBaskets = "baskets"
	policyLWW         = `"lww"`
	policySiblings    = `"siblings"`
	// policyUnion puts everything into the basket that is in any of the versions.
	policyUnion = `{"script":"function resolve(versions) { const items = new Set(); for (const v of versions) for (const i of Array.isArray(v.value?.items) ? v.value.items : []) items.add(String(i)); return { items: [...items].sort() }; }"}`
)

// A turn is a policy, and what all regions have to show of the basket under it.
type turn struct{ name, policy, want string }

func (w *walk) turns() []turn {
	priority := `{"region-priority":["` + w.names[there] + `","` + w.names[here] + `"]}`
	return []turn{
		{"lww", policyLWW, basketHere},
		{"region-priority", priority, basketThere},
		{"script", policyUnion, `{"items":["bread","rice","tea"]}`},
		{"siblings", policySiblings, basketHere},
		{"lww, again", policyLWW, basketHere},
	}
}

// actPolicies shows one conflict under each policy in turn.
func (w *walk) actPolicies(ctx context.Context) error {
	w.say(fmt.Sprintf(storyPolicies, w.names[here], basketHere, w.names[there], basketThere))
	for _, scene := range []func(context.Context) error{w.inTurn, w.asked, w.broughtBack} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// setPolicy gives the baskets a policy, and waits until all regions know it.
func (w *walk) setPolicy(ctx context.Context, policy string) (request, error) {
	q := put(collectionPath(collectionBaskets), `{"type":"register","policy":`+policy+`}`)
	if _, err := w.send(ctx, here, q, http.StatusOK); err != nil {
		return q, err
	}
	_, err := w.settle(ctx)
	return q, err
}

// inTurn switches the policy, and back.
func (w *walk) inTurn(ctx context.Context) error {
	w.scene(sceneInTurn)
	w.say(storyInTurn)
	before, err := w.digests(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"policy", "every region shows", "and says why"}}
	right, equal, wrong := true, !slices.ContainsFunc(before, func(d string) bool { return d != before[0] || d == "" }), ""
	for i, t := range w.turns() {
		q, err := w.setPolicy(ctx, t.policy)
		if err != nil {
			return err
		}
		if i == 1 {
			w.show(here, q)
		}
		views, err := w.looks(ctx, get(pathBasket))
		if err != nil {
			return err
		}
		why, err := w.reasons(ctx)
		if err != nil {
			return err
		}
		if !w.allAre(views, t.want) || slices.ContainsFunc(why, func(s string) bool { return s != why[0] || s == "" }) {
			right, wrong = false, t.name+": "+w.differing(views)
		}
		after, err := w.digests(ctx)
		if err != nil {
			return err
		}
		equal = equal && slices.Equal(before, after)
		rows = append(rows, []string{t.name, views[here].value, why[here]})
	}
	w.table(rows)
	w.check(right, claimInTurn, wrong)
	w.check(equal, fmt.Sprintf(claimDigests, before[here]), strings.Join(before, ", "))
	return nil
}

// reasons are those that each region gives for what it shows of the basket.
func (w *walk) reasons(ctx context.Context) ([]string, error) {
	why := make([]string, len(w.names))
	return why, w.everywhere(func(i int) error {
		v, err := w.versions(ctx, i, pathBasket)
		if err == nil && len(v.Conflicts) == 1 {
			why[i] = v.Conflicts[0].Why
		}
		return err
	})
}

// digests are those of the baskets in each region.
func (w *walk) digests(ctx context.Context) ([]string, error) {
	out := make([]string, len(w.names))
	return out, w.everywhere(func(i int) error {
		a, err := w.send(ctx, i, get("/v1/cluster/convergence"), http.StatusOK)
		if err != nil {
			return err
		}
		c := client.Convergence{}
		if err := json.Unmarshal(a.body, &c); err != nil {
			return err
		}
		for _, x := range c.Collections {
			if x.Collection == collectionBaskets {
				out[i] = x.Digest.Digest
			}
		}
		return nil
	})
}

// asked: the policy callback, with an application that this walk plays.
func (w *walk) asked(ctx context.Context) error {
	w.scene(sceneAsked)
	w.say(storyAsked)
	app, err := startApp()
	if err != nil {
		return err
	}
	q, err := w.setPolicy(ctx, `{"callback":{"url":"`+app.url+`","secret":"`+appSecret+`"}}`)
	if err != nil {
		return errors.Join(err, app.stop())
	}
	w.show(here, q)
	var views []view
	decided, err := w.until(ctx, stepLimit, func() (bool, error) {
		views, err = w.looks(ctx, get(pathBasket))
		return err == nil && !slices.ContainsFunc(views, func(v view) bool { return v.conflicts != "0" }), err
	})
	if err := errors.Join(err, app.stop()); err != nil {
		return err
	}
	if err := w.compared(ctx, true, views); err != nil {
		return err
	}
	w.check(decided && w.allAre(views, basketAnswer), claimAsked, w.differing(views))
	arbiter := slices.Index(w.names, slices.Min(w.names))
	c, err := w.basketConflict(ctx, arbiter)
	if err != nil {
		return err
	}
	w.say(fmt.Sprintf(storyWhy, w.names[arbiter], c.Explanation))
	w.check(len(c.Steps) > 0 && c.Settled != nil && c.Settled.Region == w.names[arbiter], fmt.Sprintf(claimArbiter, w.names[arbiter]), c.Explanation)
	return nil
}

// basketConflict is the last conflict about the basket in a region's log.
func (w *walk) basketConflict(ctx context.Context, region int) (*client.ExplainedConflict, error) {
	a, err := w.send(ctx, region, get(pathConflicts+"?collection="+collectionBaskets+"&limit=1"), http.StatusOK)
	if err != nil {
		return nil, err
	}
	page := client.ConflictPage{}
	if err := json.Unmarshal(a.body, &page); err != nil {
		return nil, err
	}
	if len(page.Conflicts) != 1 {
		return nil, fmt.Errorf("%s has no conflict about the basket in its log", w.names[region])
	}
	if a, err = w.send(ctx, region, get(pathConflicts+"/"+page.Conflicts[0].ID), http.StatusOK); err != nil {
		return nil, err
	}
	c := &client.ExplainedConflict{}
	return c, json.Unmarshal(a.body, c)
}

// broughtBack takes back what was decided, and the policy.
func (w *walk) broughtBack(ctx context.Context) error {
	w.scene(sceneBroughtBack)
	w.say(fmt.Sprintf(storyBroughtBack, w.names[there]))
	if _, err := w.setPolicy(ctx, policyLWW); err != nil {
		return err
	}
	c, err := w.basketConflict(ctx, here)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.Versions, func(v client.ConflictVersion) bool { return v.Region == w.names[there] })
	if i < 0 {
		w.check(false, fmt.Sprintf(claimBroughtBack, w.names[there]), c.Explanation)
		return nil
	}
	restore := post(pathConflicts+"/"+c.ID+"/restore", `{"dot":"`+c.Versions[i].Dot+`"}`)
	w.show(here, restore)
	if _, err := w.send(ctx, here, restore, http.StatusOK); err != nil {
		return err
	}
	if _, err := w.settle(ctx); err != nil {
		return err
	}
	views, err := w.compare(ctx, true, pathBasket)
	if err != nil {
		return err
	}
	digests, err := w.digests(ctx)
	if err != nil {
		return err
	}
	ok := w.allAre(views, basketThere) && !slices.ContainsFunc(digests, func(d string) bool { return d != digests[0] })
	w.check(ok, fmt.Sprintf(claimBroughtBack, w.names[there]), w.differing(views))
	return nil
}

// appSecret signs what regions ask the walk's application.
const appSecret = "a secret of this demo alone"

// An app is the application that decides about baskets.
type app struct {
	url    string
	server *http.Server
	done   chan error
}

func startApp() (*app, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &app{url: "http://" + l.Addr().String() + "/baskets", done: make(chan error, 1)}
	a.server = &http.Server{Handler: http.HandlerFunc(answerBaskets), ReadHeaderTimeout: requestTimeout}
	go func() { a.done <- a.server.Serve(l) }()
	return a, nil
}

func (a *app) stop() error {
	err := a.server.Close()
	if served := <-a.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// signedWithin is how old a signature may be.
const signedWithin = 5 * time.Minute

// answerBaskets is what the application says: both baskets in one, and a bag.
func answerBaskets(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, webhook.MaxRequestBytes))
	if err == nil {
		err = webhook.Verify(appSecret, r.Header.Get(webhook.HeaderSignature), body, time.Now(), signedWithin)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusUnauthorized)
		return
	}
	rw.Header().Set("Content-Type", mediaJSON)
	_, _ = io.WriteString(rw, `{"value":`+basketAnswer+`,"reason":"a bag for both"}`)
}
