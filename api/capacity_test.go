package api

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region"
)

// Ten times as many clients write as a region with a slow disk can serve. In
// virtual time what waits is exact: who is refused is refused at once, and who is
// let in waits for the commit that is under way and for its own.
func TestI08_PastItsCapacityARegionRefusesAtOnce(t *testing.T) {
	const (
		mailbox = 32
		clients = 500
		commit  = 100 * time.Millisecond
		lasts   = 10 * time.Second
	)
	tune := func(rc *region.Config, _ *Config) { rc.Mailbox = mailbox }
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		w.do("PUT", "/v1/collections/load", `{}`).gives(http.StatusCreated)
		w.stores["us-east"].Slow(commit)
		var (
			mu             sync.Mutex
			wg             sync.WaitGroup
			written, reads int
			refusals       int
			slowest        time.Duration
		)
		start := time.Now()
		for i := range clients {
			wg.Go(func() {
				for n := 0; time.Since(start) < lasts; n++ {
					asked := time.Now()
					_, r := w.do("PUT", fmt.Sprintf("/v1/collections/load/docs/%d-%d", i, n), `{"n":1}`).send()
					took := time.Since(asked)
					mu.Lock()
					switch r.status {
					case http.StatusCreated:
						written++
						slowest = max(slowest, took)
					case http.StatusTooManyRequests:
						refusals++
						if took != 0 {
							t.Errorf("a refusal took %v", took)
						}
					default:
						t.Errorf("%d: %s", r.status, r.body)
					}
					mu.Unlock()
					if r.status == http.StatusTooManyRequests {
						r.as(busy, "")
						after, err := strconv.Atoi(r.Get("Retry-After"))
						if err != nil || after < 1 {
							t.Errorf("Retry-After %q", r.Get("Retry-After"))
						}
						time.Sleep(time.Duration(after) * time.Second)
					}
				}
			})
		}
		// Reads do not pass through the owner, and are as quick as ever.
		wg.Go(func() {
			for time.Since(start) < lasts {
				asked := time.Now()
				w.do("GET", "/v1/collections/load", nil).gives(http.StatusOK)
				if took := time.Since(asked); took != 0 {
					t.Errorf("a read took %v", took)
				}
				reads++
				time.Sleep(commit / 3)
			}
		})
		wg.Wait()
		t.Logf("%d writes, the slowest after %v; %d refusals; %d reads", written, slowest, refusals, reads)
		// A step without a batch of clients' writes may have a commit of its own in between.
		if slowest > 4*commit {
			t.Errorf("a write that was let in took %v, with commits of %v", slowest, commit)
		}
		if commits := int(lasts / commit); written < commits || refusals < clients {
			t.Errorf("%d writes and %d refusals in the time of %d commits", written, refusals, commits)
		}
		w.stores["us-east"].Slow(0)
		w.do("PUT", "/v1/collections/load/docs/last", `{}`).gives(http.StatusCreated)
		listed, query := 0, "?limit=1000"
		for query != "" {
			var page struct {
				Docs   []struct{} `json:"docs"`
				Cursor string     `json:"cursor"`
			}
			w.do("GET", "/v1/collections/load/docs"+query, nil).gives(http.StatusOK).json(&page)
			listed += len(page.Docs)
			if query = ""; page.Cursor != "" {
				query = "?limit=1000&cursor=" + page.Cursor
			}
		}
		if listed != written+1 {
			t.Errorf("%d documents, %d were acknowledged", listed, written+1)
		}
	})
}
