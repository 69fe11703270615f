package automerge

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/crdt/value"
)

// A State is the state of one Automerge document. It implements [crdt.State].
type State struct {
	heads crdt.Heads
	live  *content
	// shared says that a clone uses live and aside too.
	shared bool
	// era is the mutation that last took something out of what lives here, or
	// put it back. It is this replica's own affair, see actor.
	era crdt.Dot
	aside
}

// aside is what does not live but may have to again.
type aside struct {
	base  *content // what lived before, as it was
	loose []loose  // other changes, dependencies first
	// fresh are the mutations that cover something here, in dot order.
	fresh []crdt.Dot
	// forked says that an actor has made two changes with one number.
	forked bool
}

// loose is a change by itself.
type loose struct {
	raw      []byte
	carriers []carrier
}

var _ crdt.State = (*State)(nil)

// New returns the state of a document that was never written.
func New() *State { return &State{live: &content{}} }

// Type returns crdt.TypeAutomerge.
func (s *State) Type() crdt.Type { return crdt.TypeAutomerge }

// Heads tells existence and the maximal changes.
func (s *State) Heads() *crdt.Heads { return &s.heads }

// Clone returns an independent copy.
func (s *State) Clone() crdt.State {
	s.shared = true
	c := *s
	c.heads = s.heads.Clone()
	return &c
}

// own makes live and aside s's own.
func (s *State) own() {
	if !s.shared {
		return
	}
	s.shared = false
	s.live = s.live.clone()
	s.loose, s.fresh = slices.Clone(s.loose), slices.Clone(s.fresh)
	if s.base != nil {
		s.base = s.base.clone()
	}
}

// Apply takes a mutation in.
func (s *State) Apply(hd crdt.Header, m crdt.Mutation) error {
	if m.Type != crdt.TypeAutomerge {
		return corrupt("a %v mutation of an Automerge document", m.Type)
	}
	if err := m.Check(hd); err != nil {
		return err
	}
	if m.Decision == crdt.DecisionKeep {
		s.heads.Apply(hd, m)
		return nil
	}
	var cs []*validate.Change
	if m.Delete == crdt.NotDelete {
		var err error
		if cs, err = decodePayload(m.Payload); err != nil {
			return err
		}
	}
	heads := s.heads.Clone()
	if !heads.Apply(hd, m) {
		s.heads = heads
		return nil
	}
	switch {
	case m.Delete == crdt.DeleteWins:
		// Writes from now on either saw this and all that goes, so that they need
		// none of it, or are swallowed.
		s.live, s.aside, s.era, s.shared = &content{}, aside{}, hd.Dot, false
	case m.Delete != crdt.NotDelete:
	default:
		by := carrier{dot: hd.Dot, stamp: hd.Stamp}
		if err := s.write(hd, m.Fresh, cs, by); err != nil {
			return err
		}
	}
	s.heads = heads
	return nil
}

// write takes in the changes of a mutation.
func (s *State) write(hd crdt.Header, fresh bool, cs []*validate.Change, by carrier) error {
	if fresh && !(s.live.empty() && s.aside.empty()) {
		return s.begin(hd, cs, by)
	}
	done, err := s.extend(cs, by)
	switch {
	case err != nil:
		return err
	case !done:
		return s.rebuild(hd.Dot, cs, by)
	case fresh:
		s.era = hd.Dot
	}
	return nil
}

// begin is write for one that covers what its writer's region had.
func (s *State) begin(hd crdt.Header, cs []*validate.Change, by carrier) error {
	old := *s
	old.shared = true
	s.shared = true
	s.own()
	s.era = hd.Dot
	left := s.live.cover(hd)
	if s.base != nil {
		left = s.base.cover(hd) || left
	}
	for i := range s.loose {
		e := entry{carriers: s.loose[i].carriers}
		e.cover(hd)
		s.loose[i].carriers = e.carriers
		left = left || !e.covered()
	}
	i, _ := slices.BinarySearchFunc(s.fresh, hd.Dot, crdt.Dot.Compare)
	s.fresh = slices.Insert(s.fresh, i, hd.Dot)
	var err error
	if left || s.base != nil && !s.live.empty() {
		err = s.rebuild(hd.Dot, cs, by)
	} else {
		if s.base == nil && !s.live.empty() {
			s.base = s.live
		}
		s.live, s.forked = &content{}, false
		var done bool
		if done, err = s.extend(cs, by); !done && err == nil {
			err = s.rebuild(hd.Dot, cs, by)
		}
	}
	if err != nil {
		*s = old
	}
	return err
}

func (a *aside) empty() bool { return a.base == nil && len(a.loose) == 0 }

// extend puts changes on top of what lives. It reports false, and changes
// nothing, if that is not all there is to it: if something that they depend on
// does not live, or an actor forks.
func (s *State) extend(cs []*validate.Change, by carrier) (done bool, err error) {
	if len(cs) == 0 {
		return true, nil
	}
	if contested, err := s.contested(cs); contested || err != nil {
		return false, err
	}
	heads := s.live.heads
	lengths := map[string]uint64{}
	direct := true // nothing is known already, and everything depends on heads
	for _, c := range cs {
		n, ok := lengths[c.Actor()]
		if !ok {
			n = s.live.length(c.Actor())
		}
		lengths[c.Actor()] = n + 1
		direct = direct && c.Seq == n+1
		for _, d := range c.Deps {
			if _, found := slices.BinarySearchFunc(heads, d, compareHashes); !found {
				direct = false
			}
		}
		heads = after(heads, c)
	}
	if direct {
		// The writer's own changes are in the library's form already.
		if h := shared.take(key(heads)); h != nil {
			s.own()
			for _, c := range cs {
				s.live.add(c, by)
			}
			s.live.compact(h.doc)
			s.live.give(h)
			return true, nil
		}
	}
	return s.extendDoc(cs, by)
}

// extendDoc is extend on the library's form.
func (s *State) extendDoc(cs []*validate.Change, by carrier) (done bool, err error) {
	h, err := s.live.open()
	if err != nil {
		return false, corrupt("%v", err)
	}
	fresh := make([]*validate.Change, 0, len(cs))
	known := map[Hash]bool{}
	has := func(x Hash) bool {
		if known[x] {
			return true
		}
		// The library copies a change to tell whether it is there.
		if _, found := slices.BinarySearchFunc(s.live.heads, x, compareHashes); found {
			return true
		}
		return h.doc.Has(x)
	}
	lengths := map[string]uint64{}
	var raw []byte
	heads := s.live.heads
	for _, c := range cs {
		if has(c.Hash) {
			if s.forked { // which of the forks lives may be another one now
				s.live.give(h)
				return false, nil
			}
			continue
		}
		n, ok := lengths[c.Actor()]
		if !ok {
			n = s.live.length(c.Actor())
		}
		if c.Seq != n+1 || slices.ContainsFunc(c.Deps, func(d Hash) bool { return !has(d) }) {
			s.live.give(h)
			return false, nil
		}
		lengths[c.Actor()] = c.Seq
		known[c.Hash] = true
		fresh = append(fresh, c)
		raw = append(raw, c.Raw...)
		heads = after(heads, c)
	}
	if err = applyTo(h, fresh, raw, heads); err != nil {
		h.free()
		return false, err
	}
	s.own()
	for _, c := range cs {
		if known[c.Hash] {
			s.live.add(c, by)
			delete(known, c.Hash)
			continue
		}
		i, _ := s.live.find(c.Actor())
		s.live.own(i)[c.Seq-1].carry(by)
	}
	s.live.compact(h.doc)
	s.live.give(h)
	return true, nil
}

// applyTo puts changes that are complete into the library's form.
func applyTo(h *loaded, cs []*validate.Change, raw []byte, heads []Hash) error {
	if h.index != nil {
		for _, c := range cs {
			if err := h.index.AddTrusted(c); err != nil {
				return corrupt("%v", err)
			}
		}
	}
	if err := h.doc.Apply(raw); err != nil {
		return corrupt("%v", err)
	}
	return sameHeads(h.doc, heads)
}

// Trim drops what was set aside once every mutation that covers it is stable.
func (s *State) Trim(stable crdt.Vector) bool {
	changed := s.heads.Trim(stable)
	if !s.heads.Known() && !(s.live.empty() && s.aside.empty()) {
		s.live, s.aside, s.shared = &content{}, aside{}, false
		return true
	}
	if !s.aside.empty() && !s.forked && !slices.ContainsFunc(s.fresh, func(d crdt.Dot) bool { return !stable.Contains(d) }) {
		s.aside = aside{}
		changed = true
	}
	return s.heads.TrimDecisions(stable, s.View, nil) || changed
}

// Trims reports whether Trim may yet drop anything.
func (s *State) Trims() bool { return !s.aside.empty() || s.heads.Trims() }

// Digest is a hash of the heads and of what lives, with what that shows without
// a policy; zero for a document that does not exist.
func (s *State) Digest() (sum [crdt.DigestSize]byte) {
	if !s.heads.Visible() {
		return sum
	}
	var b []byte
	for _, h := range s.heads.All() {
		b = append(b, h.Dot.Replica[:]...)
		b = binary.AppendUvarint(b, h.Dot.Seq)
		b = binary.AppendUvarint(b, uint64(h.Stamp))
		b = append(b, byte(h.Delete))
	}
	for _, h := range s.live.heads {
		b = append(b, h[:]...)
	}
	b = value.AppendBinary(b, s.View(nil).Value)
	h := sha256.Sum256(b)
	copy(sum[:], h[:])
	return sum
}

// Versions lists the heads in canonical order. They have no values: a document's
// concurrent values belong to its fields.
func (s *State) Versions() []crdt.Version {
	out := make([]crdt.Version, 0, len(s.heads.All()))
	for _, h := range s.heads.All() {
		out = append(out, crdt.Version{Dot: h.Dot, Stamp: h.Stamp, Deleted: h.Delete != crdt.NotDelete})
	}
	slices.SortFunc(out, func(a, b crdt.Version) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	})
	return out
}

// Export returns the document as a saved Automerge document, nil if there is
// none. It holds the whole history.
func (s *State) Export() ([]byte, error) {
	if !s.heads.Visible() {
		return nil, nil
	}
	h, err := s.live.open()
	if err != nil {
		return nil, err
	}
	defer s.live.give(h)
	return h.doc.Save()
}

// DocumentHeads are the hashes of the changes that no other depends on, ascending.
func (s *State) DocumentHeads() []Hash { return slices.Clone(s.live.heads) }
