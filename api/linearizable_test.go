package api

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/transport/memnet"
)

// A registerOp is an operation on one register: a write of n, or a read.
type registerOp struct {
	write bool
	n     int
}

// linearizableRegister is what a register does that is in one place.
var linearizableRegister = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, in, out any) (bool, any) {
		if op := in.(registerOp); op.write {
			return true, op.n
		}
		return state == out, state
	},
	DescribeOperation: func(in, out any) string {
		if op := in.(registerOp); op.write {
			return fmt.Sprintf("write %d", op.n)
		}
		return fmt.Sprintf("read %v", out)
	},
}

// skewed gives regions clocks that differ.
func skewed(c *region.Config, _ *Config) {
	ahead := map[string]time.Duration{"ap-south": -3 * time.Second, "eu-west": 3 * time.Second}[c.Region]
	c.Clock = func() time.Time { return time.Now().Add(ahead) }
}

// quorumHistory lets clients in all regions write and read one register by
// majorities, while one region after the other is cut off or stopped, and the
// regions' clocks differ. Writers read by quorum before they write.
func quorumHistory(t *testing.T, seed uint64) (history []porcupine.Operation, unknown int) {
	began := time.Time{}
	inWorld(t, three, skewed, func(w *world) {
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
		began = time.Now()
		stop := began.Add(20 * time.Second)
		add := func(op registerOp, out any, from time.Time, known bool) {
			to := int64(math.MaxInt64)
			if known {
				to = int64(time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			if !known {
				unknown++
			}
			history = append(history, porcupine.Operation{Input: op, Output: out, Call: int64(from.Sub(began)), Return: to})
		}
		next := 0
		var wg sync.WaitGroup
		for i, name := range three {
			wg.Go(func() { // writes
				rng := rand.New(rand.NewPCG(seed, uint64(10+i)))
				for ; time.Now().Before(stop); time.Sleep(time.Duration(100+rng.IntN(600)) * time.Millisecond) {
					from := time.Now() // the read is the first half of the write
					if _, r := w.on(name, "GET", doc+"?read=quorum", nil).with("Prefer", "wait=1").send(); r.status != 200 {
						continue
					}
					time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
					mu.Lock()
					next++
					n := next
					mu.Unlock()
					_, r := w.on(name, "PUT", doc+"?acks=majority", fmt.Sprintf(`{"n":%d}`, n)).with("Prefer", "wait=1").send()
					if r.status == 200 || r.status == 202 || r.problem().Type != catchingUp.uri() {
						add(registerOp{write: true, n: n}, nil, from, r.status == 200)
					}
				}
			})
			wg.Go(func() { // reads
				rng := rand.New(rand.NewPCG(seed, uint64(20+i)))
				for ; time.Now().Before(stop); time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond) {
					from, n := time.Now(), 0
					_, r := w.on(name, "GET", doc+"?read=quorum", nil).with("Prefer", "wait=1").send()
					if r.status != 200 {
						continue // it fails: nothing is claimed
					}
					if _, err := fmt.Sscanf(strings.TrimSpace(r.body), `{"n":%d}`, &n); err != nil {
						t.Errorf("%q: %v", r.body, err)
					}
					add(registerOp{}, n, from, true)
				}
			})
		}
		wg.Go(func() {
			for time.Now().Before(stop) {
				down := three[rng.IntN(3)]
				if rng.IntN(2) == 0 {
					cutAway(w, down)
					time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
				} else {
					w.stops[down]()
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					w.start(down)
				}
				for _, other := range three {
					if other != down {
						w.net.Heal(down, other)
					}
				}
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			}
		})
		wg.Wait()
	})
	return history, unknown
}

func cutAway(w *world, name string) {
	for _, other := range three {
		if other != name {
			w.net.Cut(name, other)
		}
	}
}

// checkingTime bounds the search for an order of one history. It takes some
// milliseconds.
const checkingTime = 20 * time.Second

func TestQuorumRegisterIsLinearizable(t *testing.T) {
	for seed := range uint64(3) {
		history, unknown := quorumHistory(t, seed)
		writes := 0
		for _, op := range history {
			if op.Input.(registerOp).write {
				writes++
			}
		}
		t.Logf("seed %d: %d operations, %d of them writes, of %d of these the outcome is not known", seed, len(history), writes, unknown)
		if len(history) < 200 || writes-unknown < 20 || unknown == 0 {
			t.Errorf("seed %d: too little happens", seed)
		}
		if res, _ := porcupine.CheckOperationsVerbose(linearizableRegister, history, checkingTime); res != porcupine.Ok {
			t.Errorf("seed %d: the history is not linearizable (%v)", seed, res)
		}
	}
}

// TestWritesThatHaveNotSeenEachOtherAreConcurrent: without a read before it a
// write can lose against one that was answered before it began. The
// documentation says so, and the checker sees it.
func TestWritesThatHaveNotSeenEachOtherAreConcurrent(t *testing.T) {
	for _, readFirst := range []bool{false, true} {
		var history []porcupine.Operation
		inWorld(t, three, skewed, func(w *world) {
			const doc = "/v1/collections/r/docs/x"
			w.do("PUT", "/v1/collections/r", `{"type":"register"}`).gives(201)
			w.do("PUT", doc+"?acks=all", `{"n":0}`).gives(201)
			w.settle()
			cutAway(w, "ap-south") // whose clock is behind
			at := int64(0)
			add := func(op registerOp, out any) {
				history = append(history, porcupine.Operation{Input: op, Output: out, Call: at, Return: at + 1})
				at += 2
			}
			w.on("eu-west", "PUT", doc+"?acks=majority", `{"n":1}`).gives(200)
			add(registerOp{write: true, n: 1}, nil)
			var wg sync.WaitGroup
			wg.Go(func() {
				if readFirst {
					w.on("ap-south", "GET", doc+"?read=quorum", nil).with("Prefer", "wait=9").gives(200).is(`{"n":1}`)
				}
				w.on("ap-south", "PUT", doc+"?acks=majority", `{"n":2}`).with("Prefer", "wait=9").gives(200)
			})
			time.Sleep(time.Second)
			for _, other := range three[1:] {
				w.net.Heal("ap-south", other)
			}
			wg.Wait()
			add(registerOp{write: true, n: 2}, nil)
			var n struct{ N int }
			w.do("GET", doc+"?read=quorum", nil).gives(200).json(&n)
			add(registerOp{}, n.N)
		})
		want := porcupine.Illegal
		if readFirst {
			want = porcupine.Ok
		}
		if res, _ := porcupine.CheckOperationsVerbose(linearizableRegister, history, checkingTime); res != want {
			t.Errorf("reading first: %v: the history is %v, want %v", readFirst, res, want)
		}
	}
}
