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
	// Decision says whether the mutation is what a callback decided.
	Decision Decision
	// Payload is the type's operations in the type's own encoding.
	Payload []byte
}

// A Change is one atomic write, possibly of several documents, each of them once.
type Change struct {
	Header
	Mutations []Mutation
	// Request names what the change was made for, nil if its client gave no
	// idempotency key. It has no part in any state.
	Request *Request
	// Trace is that of the request that made the change, zero if it is not traced.
	// It has no part in any state.
	Trace Trace
	// Residency says which regions hold what the change does, nil if all do.
	Residency *Residency
}

// RequestHashSize is the length of the hashes in a Request.
const RequestHashSize = 16

// A RequestHash is a hash of who asked under which key, or of what was asked.
type RequestHash [RequestHashSize]byte

// A Request names a client's request under an idempotency key. It travels with
// the change, so that a region that holds the change knows a repetition, and
// can give the same answer.
type Request struct {
	// Key is a hash of the client and its key, Body one of all that it asked.
	Key, Body RequestHash
	// Docs is what the answer said, for each mutation.
	Docs []RequestDoc
}

// A RequestDoc is what the answer to a request said of one document.
type RequestDoc struct {
	// Heads are those of the document after the write, as [HeadsHash] has them.
	Heads [HeadsHashSize]byte
	// Created says that there was no document before, Exists that there was one after.
	Created, Exists bool
}

// A Trace names a span of a distributed trace, as in W3C Trace Context: the one
// that what becomes of a change in other regions is a part of.
type Trace struct {
	ID   [16]byte
	Span [8]byte
}

// IsZero reports whether it names no span.
func (t Trace) IsZero() bool { return t == Trace{} }

// valid reports whether it names a span: neither id may be all zeros.
func (t Trace) valid() bool { return t.ID != [16]byte{} && t.Span != [8]byte{} }

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
	if err := m.checkDecision(); err != nil {
		return err
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
