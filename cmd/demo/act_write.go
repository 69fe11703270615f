package demo

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// samples is how many writes are timed.
const samples = 30

// patient lets a region wait for a token as long as a step may take.
func patient(q request, token string) request {
	return q.with(client.HeaderToken, token).with("Prefer", fmt.Sprintf("wait=%d", int(stepLimit/time.Second)))
}

// actWrite writes in one region and reads in the others.
func (w *walk) actWrite(ctx context.Context) error {
	w.say(fmt.Sprintf(storyWrite, w.names[here]))
	far := len(w.names) > 1
	if far {
		w.blank()
		w.say(storyToken)
	}
	first := put(pathHello, `{"text":"Hello from `+w.names[here]+`"}`)
	w.show(here, first)
	timed := make([][]time.Duration, len(w.names))
	stale := 0
	for i := range samples + 1 {
		q := first
		if i > 0 {
			q.body = fmt.Sprintf(`{"text":"Hello from %s, number %d"}`, w.names[here], i)
		}
		took, late, err := w.spread(ctx, q)
		if err != nil {
			return err
		}
		for r, d := range took {
			if i > 0 { // the first one opens connections
				timed[r] = append(timed[r], d)
			}
		}
		stale += late
	}
	w.blank()
	views, err := w.looks(ctx, get(pathHello))
	if err != nil {
		return err
	}
	lags, err := w.lags(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"region", "value", "conflicts", "lag", "time"}}
	for i, v := range views {
		when := "readable " + ms(median(timed[i])) + " later"
		if i == here {
			when = "on disk in " + ms(median(timed[i]))
		}
		rows = append(rows, []string{w.names[i], v.value, v.conflicts, changes(lags[i]), when})
	}
	w.table(rows)
	times := fmt.Sprintf(storyTimes, samples)
	if !far {
		w.say(times)
		w.blank()
		w.check(stale == 0, claimReadBack, "")
		return nil
	}
	w.say(times + " " + storyNear)
	w.blank()
	w.check(same(views), claimSameNote, w.differing(views))
	w.check(stale == 0, fmt.Sprintf(claimToken, (samples+1)*(len(w.names)-1)), fmt.Sprintf("%d did not", stale))
	return nil
}

// spread makes a write and reads it in the other regions, with the token. It
// returns how long the write took, and how much later the reads were answered.
func (w *walk) spread(ctx context.Context, q request) (took []time.Duration, stale int, err error) {
	a, err := w.send(ctx, here, q, http.StatusOK, http.StatusCreated)
	if err != nil {
		return nil, 0, err
	}
	took = make([]time.Duration, len(w.names))
	took[here] = a.took
	var mu sync.Mutex
	err = w.everywhere(func(i int) error {
		b, err := w.send(ctx, i, patient(get(q.path), a.token()), http.StatusOK)
		if err != nil {
			return err
		}
		if i != here {
			took[i] = b.took
		}
		if b.text() != q.body {
			mu.Lock()
			defer mu.Unlock()
			stale++
		}
		return nil
	})
	return took, stale, err
}
