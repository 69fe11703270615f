package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport/memnet"
)

// note is what a session client writes: its n-th write, what its write before
// was and where, and what it had seen when it wrote.
type note struct {
	N     int            `json:"n"`
	Prev  int            `json:"prev"`
	Where string         `json:"where"`
	Saw   map[string]int `json:"saw"`
}

// The session guarantees of Terry et al. (1994).
const (
	readYourWrites     = "read your writes"
	monotonicReads     = "monotonic reads"
	monotonicWrites    = "monotonic writes"
	writesFollowReads  = "writes follow reads"
	sessionClients     = 6
	sessionTime        = 20 * time.Second
	sessionRequestWait = "wait=1"
)

// A sessionClient sends each request to a region at random. It alone writes its
// two documents.
type sessionClient struct {
	w      *world
	rng    *rand.Rand
	docs   [2]string
	tokens bool
	token  string

	last  int            // the last write that was answered
	where string         // its document
	next  int            // the number of the next write
	saw   map[string]int // what the last list showed
	most  map[string]int // the most that a list showed

	reads, writes int
	broken        map[string]int
}

func (c *sessionClient) request(method, path string, body any) (r *reply) {
	q := c.w.on(three[c.rng.IntN(3)], method, path, body).with("Prefer", sessionRequestWait)
	if c.tokens && c.token != "" {
		q.with(HeaderToken, c.token)
	}
	c.token, r = q.send()
	return r
}

func (c *sessionClient) write() {
	doc := c.docs[c.rng.IntN(2)]
	b, err := json.Marshal(note{N: c.next, Prev: c.last, Where: c.where, Saw: c.saw})
	if err != nil {
		c.w.t.Error(err)
	}
	r := c.request("PUT", "/v1/collections/s/docs/"+doc, string(b))
	c.next++ // also if it was not answered: it may have been made
	if r.status < 300 {
		c.last, c.where = c.next-1, doc
		c.writes++
	}
}

// read lists all documents, of one moment, and checks what it shows.
func (c *sessionClient) read() {
	r := c.request("GET", "/v1/collections/s/docs", nil)
	if r.status != 200 {
		return
	}
	c.reads++
	var page struct {
		Docs []struct {
			ID    string `json:"id"`
			Value note   `json:"value"`
		} `json:"docs"`
	}
	r.json(&page)
	now := map[string]int{}
	for _, d := range page.Docs {
		now[d.ID] = d.Value.N
	}
	if c.last > 0 && now[c.where] < c.last {
		c.broken[readYourWrites]++
	}
	for doc, n := range c.most {
		if now[doc] < n {
			c.broken[monotonicReads]++
		}
		c.most[doc] = max(n, now[doc])
	}
	for _, d := range page.Docs {
		if d.Value.Where != "" && now[d.Value.Where] < d.Value.Prev {
			c.broken[monotonicWrites]++
		}
		for doc, n := range d.Value.Saw {
			if now[doc] < n {
				c.broken[writesFollowReads]++
			}
		}
	}
	c.saw = now
	for doc, n := range now {
		c.most[doc] = max(c.most[doc], n)
	}
}

// sessions lets clients hop between regions whose links are cut and whose
// processes are stopped and started, and counts what was broken.
func sessions(t *testing.T, seed uint64, tokens bool) (broken map[string]int) {
	broken = map[string]int{}
	reads, writes := 0, 0
	inWorld(t, three, nil, func(w *world) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for i, a := range three {
			for _, b := range three[:i] {
				w.net.SetBoth(a, b, memnet.Condition{Delay: time.Duration(5+rng.IntN(100)) * time.Millisecond})
			}
		}
		w.do("PUT", "/v1/collections/s", `{"type":"register"}`).gives(201)
		w.settle()
		end := time.Now().Add(sessionTime)
		pause := func(rng *rand.Rand, most int) { time.Sleep(time.Duration(rng.IntN(most)+1) * time.Millisecond) }
		var wg sync.WaitGroup
		clients := make([]*sessionClient, sessionClients)
		for i := range clients {
			c := &sessionClient{
				w: w, rng: rand.New(rand.NewPCG(seed, uint64(10+i))), tokens: tokens, next: 1,
				docs: [2]string{fmt.Sprintf("%d-a", i), fmt.Sprintf("%d-b", i)}, most: map[string]int{}, broken: map[string]int{},
			}
			clients[i] = c
			wg.Go(func() {
				for time.Now().Before(end) {
					if c.rng.IntN(2) == 0 {
						c.write()
					} else {
						c.read()
					}
					pause(c.rng, 100)
				}
			})
		}
		wg.Go(func() {
			for time.Now().Before(end) {
				a, b := rng.IntN(3), rng.IntN(2)
				x, y := three[a], three[(a+1+b)%3]
				switch rng.IntN(3) {
				case 0:
					w.net.Cut(x, y)
					pause(rng, 4000)
					w.net.Heal(x, y)
				case 1:
					for _, other := range three {
						if other != x {
							w.net.Cut(x, other)
						}
					}
					pause(rng, 3000)
					for _, other := range three {
						if other != x {
							w.net.Heal(x, other)
						}
					}
				case 2:
					w.stops[x]()
					pause(rng, 2000)
					w.start(x)
				}
				pause(rng, 1500)
			}
		})
		wg.Wait()
		for _, c := range clients {
			reads, writes = reads+c.reads, writes+c.writes
			for what, n := range c.broken {
				broken[what] += n
			}
		}
	})
	if reads < 300 || writes < 300 {
		t.Errorf("seed %d, tokens %v: only %d reads and %d writes were answered", seed, tokens, reads, writes)
	}
	return broken
}

func TestSessionGuaranteesHoldWithTokens(t *testing.T) {
	without := map[string]int{}
	for seed := range uint64(2) {
		for what, n := range sessions(t, seed, true) {
			t.Errorf("seed %d: %s broken %d times with tokens", seed, what, n)
		}
		for what, n := range sessions(t, seed, false) {
			without[what] += n
		}
	}
	t.Logf("without tokens: %v", without)
	for _, what := range []string{readYourWrites, monotonicReads, monotonicWrites, writesFollowReads} {
		if without[what] == 0 {
			t.Errorf("%s is never broken without tokens: the checker, or the test, is blind", what)
		}
	}
}
