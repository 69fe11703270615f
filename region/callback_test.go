package region_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
)

const app = `"policy":{"callback":{"function":"app"}}`

// asked remembers the calls of a callback that answers as it is told. Calls come
// from goroutines of their own.
type asked struct {
	mu        sync.Mutex
	questions []conflict.Question
	by        []string
	answer    func(region string, q conflict.Question) (conflict.Answer, error)
}

func (a *asked) ask(region string, q conflict.Question) (conflict.Answer, error) {
	a.mu.Lock()
	a.questions, a.by = append(a.questions, q), append(a.by, region)
	answer := a.answer
	a.mu.Unlock()
	return answer(region, q)
}

// all are the questions so far, askers the regions that asked since forget.
func (a *asked) all() []conflict.Question {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.questions)
}

func (a *asked) askers() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.by)
}

func (a *asked) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.by = nil
}

func (a *asked) answers(f func(string, conflict.Question) (conflict.Answer, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = f
}

func says(text string) func(string, conflict.Question) (conflict.Answer, error) {
	return func(string, conflict.Question) (conflict.Answer, error) {
		return conflict.Answer{Kind: conflict.AnswerValue, Value: parse(text), Reason: "as I see it"}, nil
	}
}

// shows returns what all regions show of a document: the same.
func (c *cluster) shows(col, id string) (string, crdt.View) {
	c.t.Helper()
	var text string
	var view crdt.View
	for i, n := range c.names {
		d := c.get(n, col, id)
		got := string(value.Append(nil, d.View.Value, value.Options{})) + fmt.Sprint(d.View.Exists, len(d.View.Conflicts))
		for _, x := range d.View.Conflicts {
			got += fmt.Sprintf(" %s open=%v pending=%v %s", x.Path, x.Open, x.Pending, x.Reason)
		}
		if i > 0 && got != text {
			c.t.Errorf("%s shows %s, and %s %s", n, got, c.names[0], text)
		}
		text, view = got, d.View
	}
	return string(value.Append(nil, view.Value, value.Options{})), view
}

// apart makes a document, and has some regions write to it while they are cut off.
func (c *cluster) apart(id string, writes ...crdt.Edit) {
	c.edit(c.names[0], "carts", id, put(`{"base":true}`))
	c.settle(5 * time.Second)
	c.cut()
	for i, e := range writes {
		c.edit(c.names[i], "carts", id, e)
	}
	c.heal()
	c.settle(5 * time.Second)
}

// The arbiter is the first region by name. Its answer is written over the
// versions, in all regions, and the callback is asked once.
func TestI07_AnswerOfTheCallbackIsWritten(t *testing.T) {
	for typ, path := range map[string]string{"register": "", "document": "/v"} {
		t.Run(typ, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west", "ap-south")
				defer c.stop()
				c.settings("carts", `{"type":"`+typ+`",`+app+`}`)
				a := &asked{answer: says(`{"v":"decided"}`)}
				if path != "" {
					a.answers(says(`"decided"`))
				}
				c.callback = a.ask
				c.apart("1", put(`{"v":1}`), put(`{"v":2}`), put(`{"v":3}`))
				if shown, view := c.shows("carts", "1"); shown != `{"v":"decided"}` || len(view.Conflicts) > 0 {
					t.Errorf("shown: %s, %v", shown, view.Conflicts)
				}
				last := a.all()[len(a.all())-1]
				if slices.ContainsFunc(a.askers(), func(r string) bool { return r != "ap-south" }) || len(a.all()) > 3 {
					t.Errorf("asked by %v", a.askers())
				}
				if last.Collection != "carts" || last.Document != "1" || last.Path != path || last.Type != typ || last.Region != "ap-south" || last.Attempt != 1 {
					t.Errorf("asked %+v", last)
				}
				for _, n := range c.names {
					r := c.conflicts(n, region.ConflictQuery{})[0]
					if r.State != journal.ByWrite || r.Settled == nil || !r.Settled.Answer || r.Settled.Region != "ap-south" ||
						!strings.Contains(r.Explain(), "ap-south's answer of the callback at ") {
						t.Errorf("%s: %+v: %s", n, r, r.Explain())
					}
				}
				before := len(a.all())
				time.Sleep(time.Hour)
				if len(a.all()) != before {
					t.Errorf("asked again, %d times", len(a.all())-before)
				}
			})
		})
	}
}

// Until there is an answer the newest version is shown, marked as pending; calls
// are made again after a while, and their failures are told.
func TestFailingCallbackIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west")
		defer c.stop()
		c.settings("carts", `{"type":"register",`+app+`}`)
		a := &asked{answer: func(string, conflict.Question) (conflict.Answer, error) {
			return conflict.Answer{}, errors.New("the till is closed")
		}}
		c.callback = a.ask
		c.apart("1", put(`{"v":1}`), put(`{"v":2}`))
		shown, view := c.shows("carts", "1")
		if shown != `{"v":2}` || len(view.Conflicts) != 1 || !view.Conflicts[0].Pending {
			t.Errorf("shown: %s, %+v", shown, view.Conflicts)
		}
		if r := c.one("us-east"); r.State != journal.Open || !r.Outcome.Pending || !strings.HasSuffix(r.Explain(), "The callback is still to decide.") {
			t.Errorf("%+v: %s", r, r.Explain())
		}
		time.Sleep(10 * time.Minute)
		if n := len(a.all()); n < 10 || n > 40 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		id := a.all()[0].ID
		for i, q := range a.all() {
			if q.ID != id || q.Attempt != i+1 {
				t.Fatalf("question %d is try %d of %s", i, q.Attempt, q.ID)
			}
		}
		r := c.one("eu-west")
		if len(r.Steps) != min(len(a.all()), journal.MaxSteps) || !strings.Contains(r.Explain(), "eu-west asked the callback (try 1) and got no answer: the till is closed. The next try is in ") {
			t.Errorf("%+v", r.Steps)
		}
		a.answers(says(`{"v":"at last"}`))
		time.Sleep(2 * time.Minute)
		if shown, view := c.shows("carts", "1"); shown != `{"v":"at last"}` || len(view.Conflicts) > 0 {
			t.Errorf("shown: %s, %v", shown, view.Conflicts)
		}
		counts := c.regions["eu-west"].CallbackStatus()
		if len(counts) != 1 || counts[0].Answered != 1 || int(counts[0].Failed) != len(a.all())-1 || counts[0].Waiting != 0 || int(counts[0].Asked) != len(a.all()) {
			t.Errorf("counted: %+v", counts)
		}
		c.expect("eu-west", map[string]float64{
			"callback_calls_total{collection=carts,outcome=answered}": 1, "callback_calls_total{collection=carts,outcome=failed}": float64(len(a.all()) - 1),
			"callback_waiting_conflicts{collection=carts}": 0, "callback_paused{collection=carts}": 0,
		})
	})
}

// Versions that the callback keeps stay side by side; that, too, is the same in
// all regions, also after restarts. A further write has it asked again.
func TestI07_KeptVersionsAreNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west")
		defer c.stop()
		c.settings("carts", `{"type":"register",`+app+`}`)
		a := &asked{answer: func(string, conflict.Question) (conflict.Answer, error) {
			return conflict.Answer{Kind: conflict.AnswerKeep}, nil
		}}
		c.callback = a.ask
		c.apart("1", put(`{"v":1}`), put(`{"v":2}`))
		tag := c.get("us-east", "carts", "1").Tag
		check := func() {
			t.Helper()
			shown, view := c.shows("carts", "1")
			if shown != `{"v":2}` || len(view.Conflicts) != 1 || !view.Conflicts[0].Open || view.Conflicts[0].Pending || len(view.Conflicts[0].Versions) != 2 {
				t.Errorf("shown: %s, %+v", shown, view.Conflicts)
			}
			for _, n := range c.names {
				if r := c.one(n); r.State != journal.Open || r.Outcome.Pending || !r.Outcome.Open || !strings.Contains(r.Explain(), "the callback left the versions as they are") {
					t.Errorf("%s: %s", n, r.Explain())
				}
			}
			if len(a.all()) != 1 {
				t.Errorf("asked %d times", len(a.all()))
			}
			if got := c.get("us-east", "carts", "1").Tag; got != tag {
				t.Errorf("the version became %s", got)
			}
		}
		check()
		for _, n := range c.names {
			c.stops[n]()
			c.run(n)
			c.settle(10 * time.Second)
		}
		time.Sleep(time.Minute)
		check()
		a.answers(says(`{"v":"now"}`))
		c.cut()
		c.edit("us-east", "carts", "2", put(`{}`))
		d := c.get("us-east", "carts", "1")
		c.edit("us-east", "carts", "1", crdt.Edit{Kind: crdt.EditResolve, Value: parse(`{"v":3}`), Covers: []crdt.Dot{d.View.Conflicts[0].Versions[0].Dot}})
		c.heal()
		c.settle(5 * time.Second)
		if shown, view := c.shows("carts", "1"); shown != `{"v":"now"}` || len(view.Conflicts) > 0 {
			t.Errorf("shown: %s, %v", shown, view.Conflicts)
		}
	})
}

// Two arbiters in a partition may answer differently: when they meet, the later
// answer is shown everywhere, and nobody is asked. A user's write beside them
// has the callback asked again.
func TestI07_AnswersOfTwoArbitersAreSettledByStamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west", "ap-south")
		defer c.stop()
		c.settings("carts", `{"type":"register",`+app+`}`)
		a := &asked{answer: func(string, conflict.Question) (conflict.Answer, error) {
			return conflict.Answer{}, errors.New("not yet")
		}}
		c.callback = a.ask
		c.apart("1", put(`{"v":1}`), put(`{"v":2}`), put(`{"v":3}`))
		c.cut()
		a.answers(func(region string, _ conflict.Question) (conflict.Answer, error) {
			return conflict.Answer{Kind: conflict.AnswerValue, Value: parse(`{"by":"` + region + `"}`)}, nil
		})
		time.Sleep(2 * time.Minute)
		for _, n := range c.names {
			d := c.get(n, "carts", "1")
			if got := string(value.Append(nil, d.View.Value, value.Options{})); got != `{"by":"`+n+`"}` {
				t.Errorf("%s shows %s", n, got)
			}
		}
		asked := len(a.all())
		c.heal()
		c.settle(5 * time.Second)
		time.Sleep(10 * time.Minute)
		_, view := c.shows("carts", "1")
		if len(view.Conflicts) != 1 || view.Conflicts[0].Pending || view.Conflicts[0].Shown != 2 || len(view.Conflicts[0].Versions) != 3 ||
			!strings.Contains(view.Conflicts[0].Reason, "all versions are answers of the callback") {
			t.Errorf("%+v", view.Conflicts)
		}
		if len(a.all()) != asked {
			t.Errorf("asked %d times more", len(a.all())-asked)
		}
		// A user's write among them.
		c.cut()
		c.edit("eu-west", "carts", "1", crdt.Edit{Kind: crdt.EditResolve, Value: parse(`{"v":"user"}`), Covers: []crdt.Dot{view.Conflicts[0].Versions[0].Dot}})
		c.heal()
		c.settle(5 * time.Second)
		if shown, view := c.shows("carts", "1"); shown != `{"by":"ap-south"}` || len(view.Conflicts) > 0 {
			t.Errorf("shown: %s, %+v", shown, view.Conflicts)
		}
		if last := a.all()[len(a.all())-1]; len(last.Versions) != 3 || !last.Versions[0].Answer || last.Versions[2].Answer {
			t.Errorf("asked %+v", last)
		}
	})
}

// What is to be decided is found again after a restart of the arbiter, after a
// change of the policy, and by the next arbiter.
func TestOpenDecisionsOutliveTheArbiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west", "ap-south")
		defer c.stop()
		c.settings("carts", `{"type":"register"}`)
		for i := range 100 {
			c.edit("us-east", "carts", fmt.Sprint(i), put(`{"base":true}`))
		}
		c.settle(5 * time.Second)
		c.cut()
		for i := range 100 {
			c.edit("us-east", "carts", fmt.Sprint(i), put(`{"v":1}`))
			c.edit("eu-west", "carts", fmt.Sprint(i), put(`{"v":2}`))
		}
		c.heal()
		down := func(string, conflict.Question) (conflict.Answer, error) {
			return conflict.Answer{}, errors.New("down")
		}
		a := &asked{answer: down}
		c.callback = a.ask
		c.settings("carts", `{"type":"register",`+app+`}`)
		time.Sleep(time.Second)
		if len(a.askers()) == 0 || a.askers()[0] != "ap-south" {
			t.Fatalf("asked by %v", a.askers())
		}
		c.stops["ap-south"]()
		c.run("ap-south")
		c.settle(10 * time.Second)
		time.Sleep(3 * time.Second)
		a.forget()
		time.Sleep(2 * time.Minute)
		if len(a.askers()) == 0 || slices.ContainsFunc(a.askers(), func(r string) bool { return r != "ap-south" }) {
			t.Errorf("asked by %v", a.askers())
		}
		c.stops["ap-south"]()
		time.Sleep(10 * time.Second)
		a.forget()
		a.answers(says(`{"v":"decided"}`))
		time.Sleep(2 * time.Minute)
		c.run("ap-south")
		c.settle(10 * time.Second)
		for i := range 100 {
			if shown, view := c.shows("carts", fmt.Sprint(i)); shown != `{"v":"decided"}` || len(view.Conflicts) > 0 {
				t.Fatalf("%d: shown: %s, %v", i, shown, view.Conflicts)
			}
		}
		if slices.ContainsFunc(a.askers(), func(r string) bool { return r != "eu-west" }) {
			t.Errorf("asked by %v", a.askers())
		}
	})
}

// An answer that comes when the versions were written over is not written; one
// that comes when there is another version covers those that it was about.
func TestI07_AnswerCoversWhatTheCallbackWasShown(t *testing.T) {
	for name, write := range map[string]struct {
		edit func(c *cluster)
		want string
	}{
		"written over": {func(c *cluster) { c.edit("us-east", "carts", "1", put(`{"v":"user"}`)) }, `{"v":"user"}`},
		"another": {func(c *cluster) {
			d := c.get("us-east", "carts", "1")
			c.edit("us-east", "carts", "1", crdt.Edit{Kind: crdt.EditResolve, Value: parse(`{"v":"user"}`), Covers: []crdt.Dot{d.View.Conflicts[0].Versions[0].Dot}})
		}, `{"n":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west")
				defer c.stop()
				c.settings("carts", `{"type":"register",`+app+`}`)
				calling, answer := make(chan struct{}, 9), make(chan struct{})
				a := &asked{}
				a.answer = func(string, conflict.Question) (conflict.Answer, error) {
					n := len(a.all())
					calling <- struct{}{}
					<-answer
					return conflict.Answer{Kind: conflict.AnswerValue, Value: parse(fmt.Sprintf(`{"n":%d}`, n))}, nil
				}
				c.callback = a.ask
				c.apart("1", put(`{"v":1}`), put(`{"v":2}`))
				<-calling
				write.edit(c)
				c.settle(5 * time.Second)
				close(answer)
				time.Sleep(time.Minute)
				c.settle(5 * time.Second)
				if shown, view := c.shows("carts", "1"); shown != write.want || len(view.Conflicts) > 0 {
					t.Errorf("shown: %s, %+v", shown, view.Conflicts)
				}
			})
		})
	}
}

// A callback deletes documents and fields.
func TestCallbackDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "us-east", "eu-west")
		defer c.stop()
		a := &asked{answer: func(string, conflict.Question) (conflict.Answer, error) {
			return conflict.Answer{Kind: conflict.AnswerDelete}, nil
		}}
		c.callback = a.ask
		c.settings("carts", `{`+app+`}`)
		c.edit("us-east", "carts", "list", put(`{"items":[{"id":"a","n":0},{"id":"b"}]}`))
		c.settle(5 * time.Second)
		c.cut()
		c.edit("us-east", "carts", "list", ops(`[{"op":"set","path":"/items/0/n","value":1},{"op":"set","path":"/x","value":1}]`))
		c.edit("eu-west", "carts", "list", ops(`[{"op":"set","path":"/items/0/n","value":2},{"op":"set","path":"/x","value":2}]`))
		c.heal()
		if shown, view := c.shows("carts", "list"); shown != `{"items":[{"id":"a"},{"id":"b"}]}` || len(view.Conflicts) > 0 {
			t.Errorf("shown: %s, %+v", shown, view.Conflicts)
		}
		c.settings("books", `{"type":"register",`+app+`}`)
		c.edit("us-east", "books", "1", put(`{"base":true}`))
		c.settle(5 * time.Second)
		c.cut()
		c.edit("us-east", "books", "1", put(`{"v":1}`))
		c.edit("eu-west", "books", "1", put(`{"v":2}`))
		c.heal()
		if _, view := c.shows("books", "1"); view.Exists {
			t.Errorf("shown: %+v", view)
		}
		r := c.conflicts("us-east", region.ConflictQuery{Collection: "books"})[0]
		if !strings.Contains(r.Explain(), "deletion, which is the answer of the callback, at ") {
			t.Error(r.Explain())
		}
	})
}
