package automerge

import (
	"github.com/meridiandb/meridian/crdt/automerge/amsync"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// History returns the changes that live, or lived until the document was
// deleted. It extends old, which an earlier state of the same document gave, if
// that is part of it; else, or if old is nil, it is a new one.
func (s *State) History(old *amsync.History) (*amsync.History, error) {
	c := s.live
	n := c.changes()
	if old != nil && old.Len() <= n {
		tail, err := validate.ReadLinks(c.tail)
		if err != nil {
			return nil, corrupt("%v", err)
		}
		extend(old, tail, n)
		if old.Len() == n && holdsAll(old, c.heads) {
			return old, nil
		}
	}
	h := amsync.NewHistory()
	if c.empty() {
		return h, nil
	}
	l, err := c.open()
	if err != nil {
		return nil, corrupt("%v", err)
	}
	chunks, err := l.doc.Changes()
	c.give(l)
	if err != nil {
		return nil, corrupt("%v", err)
	}
	for _, b := range chunks {
		links, err := validate.ReadLinks(b)
		if err != nil {
			return nil, corrupt("%v", err)
		}
		for _, x := range links {
			if err := h.Add(x); err != nil {
				return nil, corrupt("%v", err)
			}
		}
	}
	if h.Len() != n || !holdsAll(h, c.heads) {
		return nil, corrupt("a document does not have the changes that it should have")
	}
	return h, nil
}

// extend adds to h what is new in a tail, up to n changes.
func extend(h *amsync.History, tail []validate.Links, n int) {
	for _, x := range tail {
		if h.Len() == n || h.Add(x) != nil {
			return // it begins later than h ends
		}
	}
}

func holdsAll(h *amsync.History, heads []Hash) bool {
	for _, x := range heads {
		if !h.Has(x) {
			return false
		}
	}
	return true
}
