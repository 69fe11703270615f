package automerge

import (
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// Extent is how many changes and operations are in the history, of which
// [MaxChanges] and [MaxOps] are allowed.
func (s *State) Extent() (changes, ops int) { return s.live.changes(), s.live.ops }

// Condense is Export without the history: what the document shows under a policy
// as a saved document of its own, nil if there is none. Nothing of it has a place
// in the history of this one, so it is for a new document. It is crdt.ErrConflict
// if the policy shows a value that nobody wrote.
func (s *State) Condense(resolve crdt.Resolve) ([]byte, error) {
	if !s.heads.Visible() {
		return nil, nil
	}
	history, shown, err := s.read(resolve)
	if err != nil {
		return nil, err
	}
	cs := validate.Condense(history, func(actor string, ctr uint64) bool { return shown[opID{ctr, actor}] }, MaxChangeOps)
	var raw []byte
	for _, c := range cs {
		raw = append(raw, c.Raw...)
	}
	d, err := lib.New()
	if err != nil {
		return nil, err
	}
	defer d.Free()
	if err := d.Apply(raw); err != nil {
		return nil, err
	}
	if err := sameHeads(d, []Hash{cs[len(cs)-1].Hash}); err != nil {
		return nil, err
	}
	return d.Save()
}

// read returns the whole history, and what a policy shows where there are
// several values.
func (s *State) read(resolve crdt.Resolve) ([]*validate.Change, map[opID]bool, error) {
	h, err := s.live.open()
	if err != nil {
		return nil, nil, err
	}
	defer s.live.give(h)
	r := reader{doc: h.doc, content: s.live, resolve: s.heads.Marking(resolve), shown: map[opID]bool{}}
	if _, err := r.object(lib.Object{}, lib.Map); err != nil {
		return nil, nil, err
	}
	for _, c := range r.conflicts {
		if c.Shown < 0 {
			return nil, nil, conflict("what is shown at %q is a value of the policy's own; write it there first", c.Path)
		}
	}
	history, err := s.live.all(h.doc)
	return history, r.shown, err
}
