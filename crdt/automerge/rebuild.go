package automerge

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// A chainPlace is what only one change that lives can have.
type chainPlace struct {
	actor string
	seq   uint64
}

// contested reports whether a change has an actor and number in common with one
// that was set aside, in a history with forks. That one may be the change which
// is accepted though it does not live, as where only a rejected one needs it.
func (s *State) contested(cs []*validate.Change) (bool, error) {
	if !s.forked {
		return false, nil
	}
	taken := make(map[chainPlace]bool, len(cs))
	for _, c := range cs {
		taken[chainPlace{c.Actor(), c.Seq}] = true
	}
	for _, l := range s.loose {
		links, err := validate.ReadLinks(l.raw)
		if err != nil {
			return false, corrupt("%v", err)
		}
		for _, x := range links {
			if taken[chainPlace{string(x.Actor), x.Seq}] {
				return true, nil
			}
		}
	}
	return false, nil
}

// A record is a change of a rebuild.
type record struct {
	change   *validate.Change
	entry    entry // its carriers
	accepted bool  // among forks
	lives    bool
}

// rebuild works out from everything that is known, and the changes of a
// mutation, what lives. It is for what happens rarely: an edit that is
// concurrent with a deletion and a new beginning, and forked actors.
func (s *State) rebuild(at crdt.Dot, cs []*validate.Change, by carrier) error {
	rs, forked, err := s.weigh(cs, by)
	if err != nil {
		return err
	}
	live, out, err := rs.split()
	if err != nil {
		return err
	}
	s.live, s.shared, s.era = live, false, at
	s.aside = aside{loose: out, fresh: s.fresh, forked: forked}
	if s.aside.empty() {
		s.aside = aside{}
	}
	return nil
}

// weigh works out what lives once the changes of a mutation are known too.
func (s *State) weigh(cs []*validate.Change, by carrier) (rs *records, forked bool, err error) {
	rs = &records{byHash: map[Hash]*record{}}
	if err := rs.gather(s); err != nil {
		return nil, false, err
	}
	for _, c := range cs {
		rs.put(c, by)
	}
	if err := rs.order(); err != nil {
		return nil, false, err
	}
	return rs, rs.choose(), nil
}

// refuseForks refuses what a client brings if not all of it would live. What lives
// has been looked at already: this is about rivals that were set aside.
func (s *State) refuseForks(cs []*validate.Change, by carrier) error {
	if contested, err := s.contested(cs); !contested || err != nil {
		return err
	}
	rs, _, err := s.weigh(cs, by)
	if err != nil {
		return err
	}
	for _, c := range cs {
		if !rs.byHash[c.Hash].lives {
			return refuse("change %v: its actor has made another one with the number %d", c.Hash, c.Seq)
		}
	}
	return nil
}

type records struct {
	byHash map[Hash]*record
	list   []*record
}

func (rs *records) put(c *validate.Change, by ...carrier) {
	r, ok := rs.byHash[c.Hash]
	if !ok {
		r = &record{change: c}
		rs.byHash[c.Hash] = r
		rs.list = append(rs.list, r)
	}
	for _, b := range by {
		r.entry.carry(b)
	}
}

func (rs *records) gather(s *State) error {
	for _, c := range []*content{s.base, s.live} {
		if c == nil || c.empty() {
			continue
		}
		h, err := c.open()
		if err != nil {
			return corrupt("%v", err)
		}
		cs, err := c.all(h.doc)
		c.give(h)
		if err != nil {
			return corrupt("%v", err)
		}
		for _, ch := range cs {
			e := c.entry(ch.Actor(), ch.Seq)
			if e == nil {
				return corrupt("a change that nothing is known of")
			}
			rs.put(ch, e.carriers...)
		}
	}
	for _, l := range s.loose {
		c, err := validate.ParseChange(l.raw, peerLimits)
		if err != nil {
			return corrupt("%v", err)
		}
		rs.put(c, l.carriers...)
	}
	return nil
}

// order sorts the records such that dependencies come first.
func (rs *records) order() error {
	sorted := make([]*record, 0, len(rs.list))
	const (
		open = 1
		done = 2
	)
	state := make(map[*record]int, len(rs.list))
	todo := slices.Clone(rs.list)
	slices.Reverse(todo)
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		if state[r] != 0 {
			todo = todo[:len(todo)-1]
			if state[r] == open {
				state[r] = done
				sorted = append(sorted, r)
			}
			continue
		}
		state[r] = open
		for _, d := range r.change.Deps {
			dep, ok := rs.byHash[d]
			if !ok {
				return corrupt("a change depends on %v, which is not there", d)
			}
			if state[dep] == 0 {
				todo = append(todo, dep)
			}
		}
	}
	rs.list = sorted
	return nil
}

// mark sets lives for what keep says and what that depends on.
func (rs *records) mark(keep func(r *record) bool) {
	for _, r := range rs.list {
		r.lives = false
	}
	for _, r := range slices.Backward(rs.list) {
		if r.lives = r.lives || keep(r); r.lives {
			for _, d := range r.change.Deps {
				rs.byHash[d].lives = true
			}
		}
	}
}

// choose decides what lives: what is not covered, and what that depends on. Of
// the changes that have an actor and number in common, one is accepted: always
// the least of those whose dependencies are accepted.
func (rs *records) choose() (forked bool) {
	uncovered := func(r *record) bool { return !r.entry.covered() }
	rs.mark(uncovered)
	taken := map[chainPlace]int{}
	for _, r := range rs.list {
		if r.lives {
			p := chainPlace{r.change.Actor(), r.change.Seq}
			taken[p]++
			forked = forked || taken[p] > 1
		}
	}
	if !forked {
		return false
	}
	clear(taken)
	waits := map[Hash][]*record{}
	lacks := map[*record]int{}
	var ready recordHeap
	for _, r := range rs.list {
		if !r.lives {
			continue
		}
		if lacks[r] = len(r.change.Deps); lacks[r] == 0 {
			heap.Push(&ready, r)
		}
		for _, d := range r.change.Deps {
			waits[d] = append(waits[d], r)
		}
	}
	for ready.Len() > 0 {
		r := heap.Pop(&ready).(*record)
		p := chainPlace{r.change.Actor(), r.change.Seq}
		if taken[p]++; taken[p] > 1 {
			continue
		}
		r.accepted = true
		for _, next := range waits[r.change.Hash] {
			if lacks[next]--; lacks[next] == 0 {
				heap.Push(&ready, next)
			}
		}
	}
	rs.mark(func(r *record) bool { return r.accepted && uncovered(r) })
	return true
}

// recordHeap has the least record at the top.
type recordHeap []*record

func (h recordHeap) Len() int { return len(h) }
func (h recordHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(compareCarriers(a.entry.origin(), b.entry.origin()), compareHashes(a.change.Hash, b.change.Hash)) < 0
}
func (h recordHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *recordHeap) Push(x any) { *h = append(*h, x.(*record)) }

// Pop implements heap.Interface.
func (h *recordHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	*h = old[:len(old)-1]
	return r
}

// split makes a content of what lives, and lists the rest.
func (rs *records) split() (*content, []loose, error) {
	c := &content{}
	var rest []loose
	var raw []byte
	for _, r := range rs.list {
		if !r.lives {
			rest = append(rest, loose{raw: r.change.Raw, carriers: r.entry.carriers})
			continue
		}
		if r.change.Seq != c.length(r.change.Actor())+1 {
			return nil, nil, corrupt("change %v is not the next one of its actor", r.change.Hash)
		}
		c.note(r.change, r.entry.carriers)
		raw = append(raw, r.change.Raw...)
	}
	if c.empty() {
		return c, rest, nil
	}
	d, err := lib.New()
	if err != nil {
		return nil, nil, corrupt("%v", err)
	}
	h := &loaded{doc: d}
	if err := applyTo(h, nil, raw, c.heads); err != nil {
		h.free()
		return nil, nil, err
	}
	c.tail = raw
	c.compact(d)
	c.give(h)
	return c, rest, nil
}
