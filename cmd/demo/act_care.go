package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/api/client"
)

// actCare shows batches, preconditions and edits of older versions.
func (w *walk) actCare(ctx context.Context) error {
	for _, scene := range []func(context.Context) error{w.batches, w.preconditions, w.offline} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// How often Ana sends how much.
const (
	transfers = 19
	amount    = 5
)

// transfer is a batch that moves money from Ana to Ben, if Ana's account is still
// what it was under an ETag; "" asks for nothing.
func transfer(etag string) request {
	condition := ""
	if etag != "" {
		condition = fmt.Sprintf(`"if_match":%q,`+"\n   ", etag)
	}
	return post("/v1/batch", fmt.Sprintf(`{"docs":[
  {"collection":"accounts","id":"ben","ops":[{"op":"inc","path":"/eur","value":%d}]},
  {"collection":"accounts","id":"ana",%s"ops":[{"op":"inc","path":"/eur","value":-%d}]}]}`, amount, condition, amount))
}

// batches: all of the edits or none, in each region.
func (w *walk) batches(ctx context.Context) error {
	w.scene(sceneBatch)
	w.say(fmt.Sprintf(storyBatch, transfers, amount, w.names[len(w.names)-1]))
	read, err := w.send(ctx, here, get(pathAna), http.StatusOK)
	if err != nil {
		return err
	}
	if _, err := w.send(ctx, here, transfer(""), http.StatusOK); err != nil {
		return err
	}
	outdated := transfer(read.etag())
	w.show(here, outdated)
	refused, err := w.send(ctx, here, outdated, http.StatusPreconditionFailed, http.StatusOK)
	if err != nil {
		return err
	}
	_, ben, err := w.balances(ctx, here)
	if err != nil {
		return err
	}
	w.check(refused.status == http.StatusPreconditionFailed && ben == amount, claimRefused, fmt.Sprintf("Ben has %d EUR", ben))
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	if err := w.watched(ctx); err != nil {
		return err
	}
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	views := make([]view, len(w.names))
	for i := range w.names {
		a, b, err := w.balances(ctx, i)
		if err != nil {
			return err
		}
		views[i] = view{fmt.Sprintf("Ana has %d, Ben has %d", a, b), "0"}
	}
	if err := w.compared(ctx, true, views); err != nil {
		return err
	}
	w.check(w.allAre(views, fmt.Sprintf("Ana has 0, Ben has %d", balance)), fmt.Sprintf(claimTransferred, balance), w.differing(views))
	return nil
}

// watched makes transfers in one region and watches both accounts in another.
func (w *walk) watched(ctx context.Context) error {
	far := len(w.names) - 1
	var g errgroup.Group
	g.Go(func() error {
		for range transfers {
			if _, err := w.send(ctx, here, transfer(""), http.StatusOK); err != nil {
				return err
			}
		}
		return nil
	})
	looks, odd := 0, 0
	g.Go(func() error {
		watching, cancel := context.WithTimeoutCause(ctx, stepLimit, fmt.Errorf("%s does not show all transfers after %v", w.names[far], stepLimit))
		defer cancel()
		for { // without a pause, so as to miss nothing
			a, b, err := w.balances(watching, far)
			if watching.Err() != nil {
				return context.Cause(watching)
			}
			if err != nil {
				return err
			}
			looks++
			if a+b != balance {
				odd++
			}
			if b == (1+transfers)*amount {
				return nil
			}
		}
	})
	if err := g.Wait(); err != nil {
		return err
	}
	w.check(odd == 0, fmt.Sprintf(claimWhole, w.names[far], looks, balance), fmt.Sprintf("%d times they did not", odd))
	return nil
}

// balances reads both accounts at one moment.
func (w *walk) balances(ctx context.Context, region int) (ana, ben int, err error) {
	a, err := w.send(ctx, region, get(collectionPath("accounts")+"/docs"), http.StatusOK)
	if err != nil {
		return 0, 0, err
	}
	page := client.Page{}
	if err := json.Unmarshal(a.body, &page); err != nil {
		return 0, 0, err
	}
	for _, d := range page.Docs {
		var v struct{ Eur int }
		if err := json.Unmarshal(d.Value, &v); err != nil {
			return 0, 0, err
		}
		switch d.ID {
		case "ana":
			ana = v.Eur
		case "ben":
			ben = v.Eur
		}
	}
	return ana, ben, nil
}

// preconditions: nothing is overwritten that was not seen.
func (w *walk) preconditions(ctx context.Context) error {
	w.scene(sceneMatch)
	w.say(storyMatch)
	a, err := w.send(ctx, here, get(pathCart), http.StatusOK)
	if err != nil {
		return err
	}
	first := merge(pathCart, `{"note":"ring twice"}`).with("If-Match", a.etag())
	second := merge(pathCart, `{"note":"leave it outside"}`).with("If-Match", a.etag())
	w.show(here, second)
	if _, err := w.send(ctx, here, first, http.StatusOK); err != nil {
		return err
	}
	b, err := w.send(ctx, here, second, http.StatusPreconditionFailed, http.StatusOK)
	if err != nil {
		return err
	}
	after, err := w.look(ctx, here, get(pathCart))
	if err != nil {
		return err
	}
	w.check(b.status == http.StatusPreconditionFailed && strings.Contains(after.value, "ring twice"), claimMatch,
		fmt.Sprintf("it was answered %d, and the cart is %s", b.status, after.value))
	return nil
}

// offline: an edit of an older version.
func (w *walk) offline(ctx context.Context) error {
	w.scene(sceneOffline)
	far := min(there, len(w.names)-1)
	w.say(fmt.Sprintf(storyOffline, w.names[far]))
	if _, err := w.send(ctx, here, put(pathPhone, `{"gift":true,"name":"Ana","note":"ring twice"}`), http.StatusCreated); err != nil {
		return err
	}
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	read, err := w.send(ctx, far, get(pathPhone), http.StatusOK)
	if err != nil {
		return err
	}
	if _, err := w.send(ctx, here, merge(pathPhone, `{"gift":null,"note":null}`), http.StatusOK); err != nil {
		return err
	}
	if ok, err := w.settle(ctx); err != nil || !ok {
		return or(err, errApart)
	}
	edited := strings.TrimSuffix(read.text(), "}") + `,"phone":"555"}`
	write := put(pathPhone, edited).with(client.HeaderBase, read.etag())
	w.show(far, write)
	if _, err := w.send(ctx, far, write, http.StatusOK); err != nil {
		return err
	}
	if _, err := w.settle(ctx); err != nil {
		return err
	}
	views, err := w.compare(ctx, false, pathPhone)
	if err != nil {
		return err
	}
	w.check(w.allAre(views, `{"name":"Ana","phone":"555"}`), claimOffline, w.differing(views))
	return nil
}
