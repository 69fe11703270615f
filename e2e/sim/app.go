package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
)

// The application that regions ask about conflicts. It answers late, twice or not
// at all, and not the same when it is asked again, until faults are over.

// callbackPolicy is the setting of collections whose conflicts it decides.
const callbackPolicy = `{"callback":{"function":"app"}}`

// maxAnswerTime is how long the application may take: longer than a call waits.
const maxAnswerTime = 3 * time.Second

var errApp = errors.New("the application says no")

// askApp has the application asked by a region.
func (n *node) askApp(call core.Call) {
	n.w.checkI07OneArbiter(n, call)
	n.w.stats.Calls++
	q, epoch := call.Question, n.epoch
	r := n.w.app
	ev := core.Called{ID: q.ID, Answer: n.w.answer(r, &q)}
	takes := between(r, time.Millisecond, pick(r, 20*time.Millisecond, maxAnswerTime))
	twice := chance(r, 0.1)
	fails := chance(r, n.w.sc.appFails) && !n.w.calm
	if fails || takes > call.Callback.Timeout {
		ev.Answer, ev.Err, ev.Unavailable = conflict.Answer{}, errApp, chance(r, 0.7)
		takes = min(takes, call.Callback.Timeout)
	}
	tell := func() {
		if n.epoch != epoch || !n.up {
			return
		}
		if n.mute {
			// Nobody writes there, or dots that are lost would be used again.
			ev.Answer, ev.Err = conflict.Answer{}, errApp
		}
		if ev.Err == nil {
			n.given = append(n.given, given{q: q, answer: ev.Answer})
		}
		n.push(ev)
	}
	n.w.after(takes, tell)
	if twice {
		n.w.after(takes+between(r, 0, maxAnswerTime), tell)
	}
}

func (w *world) answer(r *rand.Rand, q *conflict.Question) conflict.Answer {
	switch k := r.IntN(10); {
	case k < 2:
		return conflict.Answer{Kind: conflict.AnswerKeep}
	case k < 4:
		return conflict.Answer{Kind: conflict.AnswerDelete}
	case k < 6 && q.Path != "":
		return conflict.Answer{Kind: conflict.AnswerValue, Value: q.Versions[0].Value}
	default:
		return conflict.Answer{Kind: conflict.AnswerValue, Value: map[string]any{"app": fmt.Sprintf("%s-%x", q.Region, r.Uint32())}}
	}
}

// given is an answer that a process was told of.
type given struct {
	q      conflict.Question
	answer conflict.Answer
}

// decided reports whether a change is what the application answered: it names
// the versions that were shown, and writes what was said.
func (n *node) decided(ch *crdt.Change) bool {
	if len(ch.Mutations) != 1 {
		return false
	}
	m := &ch.Mutations[0]
	col, err := n.catalogOf(m.Collection)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(n.given, func(g given) bool {
		if g.q.Document != m.ID || g.q.Collection != col || (g.answer.Kind == conflict.AnswerKeep) != (m.Decision == crdt.DecisionKeep) {
			return false
		}
		if m.Decision == crdt.DecisionKeep && string(m.Payload) != g.q.Path {
			return false
		}
		if m.Type != crdt.TypeRegister && m.Decision != crdt.DecisionKeep {
			return g.answer.Kind == conflict.AnswerDelete && m.Delete != crdt.NotDelete || m.Delete == crdt.NotDelete
		}
		if journal.IDOf(m.Collection, m.ID, g.q.Path, m.Context).String() != g.q.ID {
			return false
		}
		switch g.answer.Kind {
		case conflict.AnswerKeep:
			return true
		case conflict.AnswerDelete:
			return m.Delete != crdt.NotDelete
		case conflict.AnswerValue:
		}
		v, _, err := value.DecodeBinary(m.Payload, crdt.DefaultLimits.Value)
		return err == nil && m.Delete == crdt.NotDelete && value.Same(v, g.answer.Value)
	})
	if i < 0 {
		return false
	}
	n.given = slices.Delete(n.given, i, i+1)
	return true
}

func (n *node) catalogOf(dot crdt.Dot) (string, error) {
	col, err := n.core.Catalog().Collection(dot.String())
	if err != nil {
		return "", err
	}
	return col.Name, nil
}

// agreeWithin is how long it may take, once all is well, until regions know that
// they reach each other: what each tells of its links goes from one to the next.
const agreeWithin = 20 * time.Second

// checkI07OneArbiter: a strict home asks, and nobody else; a preferred one, if it
// has been within reach for a while; without a home, nobody asks who has long had
// a region within reach that comes before it by name.
func (w *world) checkI07OneArbiter(n *node, call core.Call) {
	var home *core.Home
	if col, err := n.core.Catalog().Collection(call.Question.Collection); err == nil {
		home = col.Home(call.Question.Document)
	}
	switch {
	case home != nil && home.Strict():
		if n.name != home.Region {
			w.fail("checkI07OneArbiter", "%s asks about %s/%s, the home of which is %s", n.name, call.Question.Collection, call.Question.Document, home.Region)
		}
	case w.calm && w.now > w.healed+agreeWithin:
		if i := slices.IndexFunc(n.inReach(), func(o *node) bool {
			return o != n && (home == nil && o.name < n.name || home != nil && o.name == home.Region)
		}); i >= 0 {
			w.fail("checkI07OneArbiter", "%s asks about %s/%s, and %s can be reached", n.name, call.Question.Collection, call.Question.Document, n.inReach()[i].name)
		}
	}
	for i := range call.Question.Versions {
		v := &call.Question.Versions[i]
		if !n.have.Contains(v.Dot) {
			w.fail("checkI03DurableFirst", "%s shows the application %v, which is not durable", n.name, v.Dot)
		}
	}
}

// inReach are the regions to which there has been a path for so long that this
// one has to know of it. Not all are within reach soon after all is healed: a new
// region is linked with nobody before the one that it was started with has heard
// that it is a member, which takes minutes where an inbox holds next to nothing. What
// regions tell of their links is passed on by those that know all members.
func (n *node) inReach() []*node {
	reached := []*node{n}
	for i := 0; i < len(reached); i++ {
		a := reached[i]
		if !a.up || n.w.now <= a.grouped+agreeWithin || slices.ContainsFunc(n.w.nodes, func(o *node) bool { return !a.knows(o) }) {
			continue
		}
		for _, b := range n.w.nodes {
			if !slices.Contains(reached, b) && n.w.pair(a, b).steady() {
				reached = append(reached, b)
			}
		}
	}
	return reached
}

// undecided names a document about which the application is still to decide.
func (w *world) undecided() string {
	for _, n := range w.nodes {
		for _, k := range n.documents() {
			s := n.stored(k)
			if s == nil || k.Collection.IsZero() {
				continue
			}
			_, view := n.view(k, s)
			col, err := n.catalog.Collection(k.Collection.String())
			if err != nil || col.Deleted || w.cannotWrite(col, k.ID) {
				continue
			}
			if i := slices.IndexFunc(view.Conflicts, func(c crdt.Resolved) bool { return c.Pending }); i >= 0 {
				return fmt.Sprintf("%s of %v in %s, at %q", k.ID, k.Collection, n.name, view.Conflicts[i].Path)
			}
		}
	}
	return ""
}

// cannotWrite reports whether nobody takes writes of a document: its home has no
// authority, or not yet.
func (w *world) cannotWrite(col *core.Collection, id string) bool {
	h := col.Home(id)
	if h == nil || !h.Strict() {
		return false
	}
	return !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.core != nil && core.CheckHome(n.name, n.core.Replica(), col, h) == nil })
}

// decideWithin is how long decisions may take once all is well: the longest that
// the core waits after failures, and what one after the other brings about.
const decideWithin = 5 * time.Minute

// checkI07AllIsDecided: once the application answers, nothing is left open.
func (w *world) checkI07AllIsDecided() {
	if w.failure == nil && !w.waitFor(decideWithin, func() bool { return w.undecided() == "" && w.converged() }) {
		w.failApart("checkI07AllIsDecided", "after %v it is not decided about %s", decideWithin, w.undecided())
	}
}

// makeAsking makes the collections that the application decides about, before
// the first write to them would.
func (w *world) makeAsking() {
	n := w.nodes[0]
	if !n.up {
		return
	}
	c := &client{index: n.index, tags: map[doc][]string{}}
	for _, spec := range collections[len(collections)-2:] {
		s, err := core.ParseSettings([]byte(spec.settings))
		if err != nil {
			w.fail("settings", "%v", err)
			return
		}
		n.submit(core.PutCollection{Name: spec.name, Settings: s}, nil, func(rep core.Reply) {
			res, _ := rep.Result.(core.CollectionReceipt)
			n.finished(c, "a collection", crdt.Vector{}, res.Have, rep.Err)
		})
	}
}
