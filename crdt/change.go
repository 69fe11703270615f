package crdt

import "fmt"

// A Header is what every mutation of a change shares.
type Header struct {
	Dot   Dot
	Stamp Stamp
	// Deps is the writer's whole Have before the change. It orders delivery
	// (I4); what an operation removes is named by dots.
	Deps Vector
}

// A Mutation is what a change does to one document.
type Mutation struct {
	// Collection is the incarnation: the dot of the collection's creation. The
	// zero dot is the system collection (see package region).
	Collection Dot
	Type       Type
	ID         string
	// Context names the heads of the version that the write is based on: in dot
	// order, none twice, all of them in Deps.
	Context []Dot
	// Fresh says that the writer saw no document: whatever of it is in Deps is
	// the past of a deletion and goes.
	Fresh bool
	// Delete makes the mutation a deletion; Payload is then empty.
	Delete DeleteMode
	// Payload is the type's operations in the type's own encoding.
	Payload []byte
}

// A Change is one atomic write, possibly of several documents, each of them once.
type Change struct {
	Header
	Mutations []Mutation
}

// Check reports, as ErrCorrupt, what no correct replica writes: a context that
// is not sorted, has duplicates, or names what the writer had not seen; an
// unknown delete mode; a deletion with a payload. Types call it before they
// apply m; [DecodeChange] has checked already what comes from a peer.
func (m *Mutation) Check(hd Header) error {
	switch {
	case m.Delete > DeleteWins:
		return fmt.Errorf("%w: bad delete mode", ErrCorrupt)
	case m.Delete != NotDelete && len(m.Payload) > 0:
		return fmt.Errorf("%w: a deletion with a payload", ErrCorrupt)
	case len(m.Context) > MaxContext:
		return fmt.Errorf("%w: a context of %d heads, at most %d are allowed", ErrCorrupt, len(m.Context), MaxContext)
	}
	for i, d := range m.Context {
		if d.Seq == 0 || !hd.Deps.Contains(d) {
			return fmt.Errorf("%w: a context names %v, which its writer had not seen", ErrCorrupt, d)
		}
		if i > 0 && m.Context[i-1].Compare(d) >= 0 {
			return fmt.Errorf("%w: a context is out of order", ErrCorrupt)
		}
	}
	return nil
}
