package crdt

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
	// Context names the heads of the version that the write is based on.
	Context []Dot
	// Fresh says that the writer saw no document: whatever of it is in Deps is
	// the past of a deletion and goes.
	Fresh bool
	// Delete makes the mutation a deletion; Payload is then empty.
	Delete DeleteMode
	// Payload is the type's operations in the type's own encoding.
	Payload []byte
}

// A Change is one atomic write, possibly of several documents.
type Change struct {
	Header
	Mutations []Mutation
}
