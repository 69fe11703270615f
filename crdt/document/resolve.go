package document

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// resolution writes a value over versions that the client names: of the field at
// e.Path, or of everything in the document that is in conflict.
func (ed *editor) resolution(e crdt.Edit) error {
	if len(e.Path) == 0 {
		return ed.setRoot(e.Value)
	}
	pl, err := ed.lookup(e.Path)
	if err != nil {
		return err
	}
	s := ed.b.find(pl.path)
	alts := s.alts()
	dot := func(a alt) crdt.Dot {
		if a.kind == kindScalar {
			return s.scalars[a.scalar].tag.dot
		}
		return s.newest(a.kind).tag.dot
	}
	for _, c := range e.Covers {
		if !slices.ContainsFunc(alts, func(a alt) bool { return dot(a) == c }) {
			return conflict("%v is not a version of %q", c, e.Path.String())
		}
	}
	kept := slices.DeleteFunc(slices.Clone(alts), func(a alt) bool {
		return len(e.Covers) == 0 && !e.Beside || slices.Contains(e.Covers, dot(a))
	})
	if len(kept) == 0 {
		return ed.diff(pl, e.Value, true)
	}
	var g seen
	counts := s.counted()
	for _, a := range alts {
		switch {
		case slices.Contains(kept, a):
			_, isInt := s.scalarInt(a)
			counts = counts && !isInt
		case a.kind == kindScalar:
			g.tags = append(g.tags, s.scalars[a.scalar].tag)
		default:
			g.kind(s, a.kind)
		}
	}
	if counts { // no integer is left that the increments could count on
		g.kind(s, kindCounter)
	}
	if err := ed.remove(pl, g); err != nil {
		return err
	}
	return ed.put(pl, e.Value)
}

func (s *slot) scalarInt(a alt) (int64, bool) {
	if a.kind != kindScalar {
		return 0, false
	}
	n, ok := s.scalars[a.scalar].v.(int64)
	return n, ok
}
