package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// actHeal brings the links back.
func (w *walk) actHeal(ctx context.Context) error {
	w.say(fmt.Sprintf(storyHeal, w.names[there]))
	w.show(there, w.faults(faultUp)...)
	lags, err := w.lags(ctx)
	if err != nil {
		return err
	}
	lacked := uint64(0)
	for _, n := range lags {
		lacked += n
	}
	start := time.Now()
	if err := w.mend(ctx); err != nil {
		return err
	}
	equal, err := w.settle(ctx)
	if err != nil {
		return err
	}
	w.check(equal, fmt.Sprintf(claimEqual, len(w.names), changes(lacked), ms(time.Since(start))), "they are not")
	if err := w.byteEqual(ctx); err != nil {
		return err
	}
	return w.showOrders(ctx)
}

// byteEqual compares all documents of all collections in all regions.
func (w *walk) byteEqual(ctx context.Context) error {
	docs := make([]map[string]string, len(w.names))
	err := w.everywhere(func(i int) (err error) {
		docs[i], err = w.everything(ctx, i)
		return err
	})
	if err != nil {
		return err
	}
	found := ""
	for i := range docs {
		for path, text := range docs[i] {
			if docs[here][path] != text {
				found = fmt.Sprintf("%s has %s as %s, %s as %s", w.names[i], path, text, w.names[here], docs[here][path])
			}
		}
	}
	equal := !slices.ContainsFunc(docs, func(m map[string]string) bool { return !maps.Equal(m, docs[here]) })
	w.check(equal && len(docs[here]) > 0, fmt.Sprintf(claimByteEqual, len(docs[here])), found)
	return nil
}

// everything reads all documents of a region, as the bytes that it sends.
func (w *walk) everything(ctx context.Context, region int) (map[string]string, error) {
	a, err := w.send(ctx, region, get("/v1/collections"), http.StatusOK)
	if err != nil {
		return nil, err
	}
	var list struct {
		Collections []struct{ Name string }
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, err
	}
	docs := map[string]string{}
	for _, c := range list.Collections {
		path := collectionPath(c.Name) + "/docs"
		for cursor := ""; ; {
			page := client.Page{}
			a, err := w.send(ctx, region, get(path+"?limit=1000"+cursor), http.StatusOK)
			if err == nil {
				err = json.Unmarshal(a.body, &page)
			}
			if err != nil {
				return nil, err
			}
			for _, d := range page.Docs {
				docs[c.Name+"/"+d.ID] = string(d.Value)
			}
			if page.Cursor == "" {
				break
			}
			cursor = "&cursor=" + page.Cursor
		}
	}
	return docs, nil
}
