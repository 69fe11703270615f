package api

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport/memnet"
)

// An access is an operation on the one register of a history: a write of the
// number n, or a read that gave it, from start to end. Numbers are the order
// in which writes began, and one begins after the one before it has ended.
type access struct {
	write      bool
	n          int
	start, end time.Time
	unknown    bool // the write may or may not have been made
}

// checkRegister finds what an atomic register with one writer at a time does not
// do: a read that misses a write that had ended before it began, that shows one
// that begins after it has ended, or that shows less than an earlier read.
func checkRegister(history []access) (wrong []string) {
	for _, read := range history {
		if read.write {
			continue
		}
		for _, other := range history {
			switch {
			case other.write && !other.unknown && other.end.Before(read.start) && read.n < other.n:
				wrong = append(wrong, fmt.Sprintf("read %d after write %d was answered", read.n, other.n))
			case other.write && other.n == read.n && other.start.After(read.end):
				wrong = append(wrong, fmt.Sprintf("read %d before it was written", read.n))
			case !other.write && other.end.Before(read.start) && read.n < other.n:
				wrong = append(wrong, fmt.Sprintf("read %d after a read of %d", read.n, other.n))
			}
		}
	}
	return wrong
}

func TestRegisterCheckerFindsWhatIsWrong(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	w := func(n, from, to int) access { return access{write: true, n: n, start: at(from), end: at(to)} }
	r := func(n, from, to int) access { return access{n: n, start: at(from), end: at(to)} }
	for i, tt := range []struct {
		history []access
		wrong   bool
	}{
		{[]access{w(1, 1, 2), r(1, 3, 4)}, false},
		{[]access{w(1, 1, 2), r(0, 3, 4)}, true},
		{[]access{w(1, 1, 5), r(0, 3, 4), r(1, 4, 6)}, false},
		{[]access{w(1, 1, 9), r(1, 3, 4), r(0, 5, 6)}, true},
		{[]access{r(1, 1, 2), w(1, 3, 4)}, true},
	} {
		if got := checkRegister(tt.history); (len(got) > 0) != tt.wrong {
			t.Errorf("history %d: %v", i, got)
		}
	}
}

// registerHistory lets one writer after the other, in changing regions, and readers in
// all regions at once use one document while links are cut.
func registerHistory(t *testing.T, seed uint64, write, read string) (history []access) {
	inWorld(t, three, nil, func(w *world) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for i, a := range three {
			for _, b := range three[:i] {
				w.net.SetBoth(a, b, memnet.Condition{Delay: time.Duration(5+rng.IntN(60)) * time.Millisecond})
			}
		}
		const doc = "/v1/collections/r/docs/x"
		w.do("PUT", "/v1/collections/r", `{"type":"register"}`).gives(201)
		w.do("PUT", doc+"?acks=all", `{"n":0}`).gives(201)
		var mu sync.Mutex
		add := func(e access) {
			e.end = time.Now()
			mu.Lock()
			defer mu.Unlock()
			history = append(history, e)
		}
		stop := time.Now().Add(25 * time.Second)
		var wg sync.WaitGroup
		pause := func(rng *rand.Rand, most int) { time.Sleep(time.Duration(rng.IntN(most)+1) * time.Millisecond) }
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 2))
			for n := 1; time.Now().Before(stop); n++ {
				e := access{write: true, n: n, start: time.Now()}
				// The writer reads before it writes elsewhere, so that its write is
				// concurrent with none.
				c := w.on(three[rng.IntN(3)], "GET", doc+"?read=quorum", nil)
				region, token := c.send()
				if token.status == 200 {
					res := w.on(three[rng.IntN(3)], "PUT", doc+"?acks="+write, `{"n":`+strconv.Itoa(n)+`}`).
						with(HeaderToken, region).with("Prefer", "wait=1")
					_, r := res.send()
					e.unknown = r.status != 200
					if r.status != 503 {
						add(e)
					}
				}
				pause(rng, 200)
			}
		})
		for i, name := range three {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(3+i)))
				for time.Now().Before(stop) {
					e := access{start: time.Now()}
					_, r := w.on(name, "GET", doc+"?read="+read, nil).with("Prefer", "wait=1").send()
					if r.status == 200 {
						if _, err := fmt.Sscanf(strings.TrimSpace(r.body), `{"n":%d}`, &e.n); err != nil {
							t.Errorf("%q: %v", r.body, err)
						}
						add(e)
					}
					pause(rng, 100)
				}
			})
		}
		wg.Go(func() {
			for time.Now().Before(stop) {
				// One region is cut off from one or both of the others at a time.
				i := rng.IntN(3)
				a, b, c := three[i], three[(i+1)%3], three[(i+2)%3]
				w.net.Cut(a, b)
				if rng.IntN(2) == 0 {
					w.net.Cut(a, c)
				}
				pause(rng, 6000)
				w.net.Heal(a, b)
				w.net.Heal(a, c)
				pause(rng, 2000)
			}
		})
		wg.Wait()
	})
	return history
}

func TestQuorumReadsSeeAcknowledgedWrites(t *testing.T) {
	for seed := range uint64(2) {
		for _, q := range [][2]string{{"majority", "quorum"}, {"2", "2"}} {
			history := registerHistory(t, seed, q[0], q[1])
			reads, writes := 0, 0
			for _, e := range history {
				if e.write && !e.unknown {
					writes++
				} else if !e.write {
					reads++
				}
			}
			if reads < 150 || writes < 20 {
				t.Errorf("only %d reads and %d writes succeeded", reads, writes)
			}
			for _, wrong := range checkRegister(history) {
				t.Errorf("seed %d, acks=%s and read=%s: %s", seed, q[0], q[1], wrong)
			}
		}
	}
	// Less is not enough, and is seen not to be.
	if len(checkRegister(registerHistory(t, 1, "majority", "local"))) == 0 {
		t.Error("local reads look like reads by a quorum: the checker, or the test, is blind")
	}
}
