// Package causaltest makes random causal histories of one document: replicas
// that write, deliver each other's changes in causal order, tell each other what
// they have, and drop what is stable. Tests of the replicated types use it.
package causaltest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
)

// A Doc is the replicated state of a document, or of a part of one.
type Doc interface {
	Apply(crdt.Header, crdt.Mutation) error
	Trim(stable crdt.Vector) bool
	Trims() bool
	Heads() *crdt.Heads
}

// trim makes sure that a state which says that nothing can be dropped means it.
func trim(t *rapid.T, d Doc, stable crdt.Vector) {
	may := d.Trims()
	if d.Trim(stable) && !may {
		t.Fatalf("something was dropped of a state that has nothing to drop")
	}
}

// Settings of a history.
type Settings struct {
	Replicas int
	Steps    int
	// Trim lets replicas drop what is stable, at random times.
	Trim bool
	New  func() Doc
	// Edit makes a write of a replica that sees doc, or reports false if it
	// has none to make. It fills in no collection and no id.
	Edit func(t *rapid.T, doc Doc, hd crdt.Header) (crdt.Mutation, bool)
}

// A Replica of a history.
type Replica struct {
	ID   crdt.ReplicaID
	Have crdt.Vector
	Doc  Doc

	clock   *crdt.Clock
	reports []crdt.Vector // the latest Have of each replica that counts (see stable)
}

// A History is what happened.
type History struct {
	// Changes is all that was written, in an order that is causal.
	Changes  []*crdt.Change
	Replicas []*Replica

	settings Settings
	wall     time.Time
}

var start = time.UnixMilli(1_700_000_000_000)

// ReplicaID returns the id of the i-th replica.
func ReplicaID(i int) crdt.ReplicaID {
	r := crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80}
	r[15] = byte(i + 1)
	return r
}

// Run draws a history.
func Run(t *rapid.T, s Settings) *History {
	h := &History{settings: s, wall: start}
	for i := range s.Replicas {
		h.Replicas = append(h.Replicas, &Replica{
			ID: ReplicaID(i), Doc: s.New(), clock: crdt.NewClock(time.Minute, 0),
			reports: make([]crdt.Vector, s.Replicas),
		})
	}
	for range rapid.IntRange(1, s.Steps).Draw(t, "steps") {
		i := rapid.IntRange(0, s.Replicas-1).Draw(t, "replica")
		switch do := rapid.IntRange(0, 9).Draw(t, "do"); {
		case do < 4:
			h.write(t, i)
		case do < 8:
			h.deliverOne(t, i)
		case do == 8:
			// Who writes next has another idea of the time, maybe far beyond the
			// skew that clocks put up with.
			h.wall = start.Add(time.Duration(rapid.IntRange(-7_200, 7_200).Draw(t, "clock")) * time.Second)
		default:
			h.report(i, rapid.IntRange(0, s.Replicas-1).Draw(t, "reporter"))
			if s.Trim {
				trim(t, h.Replicas[i].Doc, h.stable(i))
			}
		}
	}
	return h
}

func (h *History) write(t *rapid.T, i int) {
	r := h.Replicas[i]
	hd := crdt.Header{
		Dot:   crdt.Dot{Replica: r.ID, Seq: r.Have.Get(r.ID) + 1},
		Stamp: r.clock.Next(h.wall, r.Doc.Heads().MaxStamp()),
		Deps:  r.Have,
	}
	m, ok := h.settings.Edit(t, r.Doc, hd)
	if !ok {
		return
	}
	m.ID = "d"
	c := &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}}
	b, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatalf("encode %v: %v", c, err)
	}
	if c, _, err = crdt.DecodeChange(b); err != nil {
		t.Fatalf("decode %v: %v", c, err)
	}
	h.Changes = append(h.Changes, c)
	h.deliver(t, i, c)
}

func (h *History) deliver(t *rapid.T, i int, c *crdt.Change) {
	r := h.Replicas[i]
	Apply(t, r.Doc, c)
	r.Have = r.Have.With(c.Dot)
	r.clock.Observe(h.wall, c.Stamp)
	// A change tells what its writer had, and we have all that the writer wrote before.
	for j, w := range h.Replicas {
		if w.ID == c.Dot.Replica {
			r.reports[j] = r.reports[j].Join(c.Deps.With(c.Dot))
		}
	}
}

func (h *History) deliverOne(t *rapid.T, i int) {
	if next := ready(h.Replicas[i].Have, h.Changes); len(next) > 0 {
		h.deliver(t, i, next[rapid.IntRange(0, len(next)-1).Draw(t, "next")])
	}
}

// ready returns the changes that can be delivered to who has have.
func ready(have crdt.Vector, changes []*crdt.Change) []*crdt.Change {
	var out []*crdt.Change
	for _, c := range changes {
		if !have.Contains(c.Dot) && have.Covers(c.Deps) {
			out = append(out, c)
		}
	}
	return out
}

// report tells i what j has. It counts once i has all that j had written.
func (h *History) report(i, j int) {
	r, from := h.Replicas[i], h.Replicas[j]
	if r.Have.Get(from.ID) >= from.Have.Get(from.ID) {
		r.reports[j] = r.reports[j].Join(from.Have)
	}
}

// stable is the stable vector of i: below it nothing concurrent can still arrive.
func (h *History) stable(i int) crdt.Vector {
	v := h.Replicas[i].Have
	for j, rep := range h.Replicas[i].reports {
		if j != i {
			v = v.Meet(rep)
		}
	}
	return v
}

// Settle delivers everything everywhere, in drawn orders.
func (h *History) Settle(t *rapid.T) {
	for i := range h.Replicas {
		for len(ready(h.Replicas[i].Have, h.Changes)) > 0 {
			h.deliverOne(t, i)
		}
	}
}

// TrimAll makes everything stable and trims.
func (h *History) TrimAll() {
	for i := range h.Replicas {
		for j := range h.Replicas {
			h.report(i, j)
		}
		h.Replicas[i].Doc.Trim(h.stable(i))
	}
}

// Replay applies the changes to a new document, in a drawn causal order.
func (h *History) Replay(t *rapid.T) Doc {
	doc, have := h.settings.New(), crdt.Vector{}
	for {
		next := ready(have, h.Changes)
		if len(next) == 0 {
			return doc
		}
		c := next[rapid.IntRange(0, len(next)-1).Draw(t, "next")]
		Apply(t, doc, c)
		have = have.With(c.Dot)
	}
}

// Apply applies a change's mutations.
func Apply(t *rapid.T, doc Doc, c *crdt.Change) {
	for _, m := range c.Mutations {
		if err := doc.Apply(c.Header, m); err != nil {
			t.Fatalf("apply %v: %v", c, err)
		}
	}
}

// CheckStamps fails unless every change has a greater stamp than those that its
// writer had seen (I11).
func (h *History) CheckStamps(t *rapid.T) {
	for _, b := range h.Changes {
		for _, a := range h.Changes {
			if b.Deps.Contains(a.Dot) && a.Stamp >= b.Stamp {
				t.Fatalf("%v at %v had seen %v at %v", b.Dot, b.Stamp, a.Dot, a.Stamp)
			}
		}
	}
}

// Describe lists the changes for a failure's message.
func (h *History) Describe() string {
	s := ""
	for _, c := range h.Changes {
		for _, m := range c.Mutations {
			s += fmt.Sprintf("%v deps %v context %v fresh %v delete %d payload %q\n", c.Dot, c.Deps, m.Context, m.Fresh, m.Delete, m.Payload)
		}
	}
	return s
}

// Heads returns the heads that the changes leave, by their definition: those
// that no other takes away.
func Heads(changes []*crdt.Change) []crdt.Head {
	var out []crdt.Head
	for _, x := range changes {
		if taken(x, changes) {
			continue
		}
		out = append(out, crdt.Head{Dot: x.Dot, Stamp: x.Stamp, Delete: x.Mutations[0].Delete})
	}
	return out
}

func taken(x *crdt.Change, by []*crdt.Change) bool {
	deletes := x.Mutations[0].Delete != crdt.NotDelete
	for _, c := range by {
		m := c.Mutations[0]
		for _, d := range m.Context {
			if d == x.Dot {
				return true
			}
		}
		if m.Fresh && deletes && c.Deps.Contains(x.Dot) ||
			m.Delete == crdt.DeleteWins && !deletes && !x.Deps.Contains(c.Dot) {
			return true
		}
	}
	return false
}
