package crdt

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Bounds of the binary forms. A decoder refuses what is beyond them before it
// allocates anything.
const (
	// MaxReplicas is the greatest number of entries of a vector.
	MaxReplicas = 4096
	// MaxMutations is the greatest number of documents in one change.
	MaxMutations = 10_000
	// MaxChangeBytes is the greatest size of an encoded change.
	MaxChangeBytes = 16 << 20
	// MaxIDBytes is the greatest length of a document id.
	MaxIDBytes = 512
	// MaxContext is the greatest number of heads that a mutation names.
	MaxContext = 4096
)

const changeFormat = 1

func uitoa(n uint64) string { return strconv.FormatUint(n, 10) }

func appendDot(b []byte, d Dot) []byte {
	b = append(b, d.Replica[:]...)
	return binary.AppendUvarint(b, d.Seq)
}

// AppendBinary appends the vector's encoding: a count, then replica and
// sequence number of each entry in order.
func (v Vector) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(v.entries)))
	for _, e := range v.entries {
		b = appendDot(b, e)
	}
	return b, nil
}

// DecodeVector reads a vector from the start of b and returns what follows it.
func DecodeVector(b []byte) (Vector, []byte, error) {
	r := NewReader(b)
	v := r.Vector()
	return v, r.Rest(), r.Err()
}

// A Reader takes the primitives of the binary forms from a byte slice. The
// first failure sticks: later reads give zero values, and Err tells. It never
// allocates more than the input justifies.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a reader of b. Byte slices that it returns share b's memory.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is the first failure, which wraps ErrCorrupt, or nil.
func (r *Reader) Err() error { return r.err }

// Rest is what was not read yet.
func (r *Reader) Rest() []byte { return r.b }

// Fail makes the reader fail with a reason, unless it has failed already.
func (r *Reader) Fail(reason string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, reason)
		r.b = nil
	}
}

// Done fails the reader if anything is left, and returns Err.
func (r *Reader) Done() error {
	if len(r.b) > 0 {
		r.Fail("trailing bytes")
	}
	return r.err
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.Fail("truncated")
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// Uvarint reads an unsigned varint in its shortest form.
func (r *Reader) Uvarint() uint64 {
	n, k := binary.Uvarint(r.b)
	if k <= 0 || (k > 1 && r.b[k-1] == 0) {
		r.Fail("bad varint")
		return 0
	}
	r.b = r.b[k:]
	return n
}

// Varint reads a signed, zigzag varint.
func (r *Reader) Varint() int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Count reads a number of items of at least size bytes each, at most limit.
func (r *Reader) Count(limit, size int) int {
	n := r.Uvarint()
	if n > uint64(limit) || n*uint64(max(size, 1)) > uint64(len(r.b)) {
		r.Fail("count out of bounds")
		return 0
	}
	return int(n)
}

// Bytes reads a length and that many bytes, at most limit.
func (r *Reader) Bytes(limit int) []byte {
	n := r.Count(limit, 1)
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Fixed reads n bytes.
func (r *Reader) Fixed(n int) []byte {
	if len(r.b) < n {
		r.Fail("truncated")
		return make([]byte, n)
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Replica reads a replica id.
func (r *Reader) Replica() ReplicaID { return ReplicaID(r.Fixed(16)) }

// Dot reads a dot; only the zero dot may have sequence number 0.
func (r *Reader) Dot() Dot {
	d := Dot{r.Replica(), r.Uvarint()}
	if (d.Seq == 0) != d.Replica.IsZero() {
		r.Fail("bad dot")
	}
	return d
}

// Vector reads a version vector.
func (r *Reader) Vector() Vector {
	n := r.Count(MaxReplicas, 17)
	if n == 0 {
		return Vector{}
	}
	e := make([]Dot, n)
	for i := range e {
		e[i] = r.Dot()
		if r.err == nil && (e[i].Seq == 0 || i > 0 && e[i].Replica.Compare(e[i-1].Replica) <= 0) {
			r.Fail("vector out of order")
		}
	}
	if r.err != nil {
		return Vector{}
	}
	return Vector{e}
}

// Flags of an encoded mutation.
const (
	flagSystem   = 1 << iota // the zero collection; its dot is left out
	flagFresh                // Fresh
	deleteShift  = iota      // two bits of DeleteMode
	mutationMask = flagSystem | flagFresh | 3<<deleteShift
)

// A replica inside a change is written as a reference: 0 is the change's own,
// i the i-th entry of Deps (from 1), one past the last is followed by the id.
func (c *Change) appendRef(b []byte, d Dot) []byte {
	ref := uint64(0)
	if d.Replica != c.Dot.Replica {
		i, ok := c.Deps.find(d.Replica)
		if !ok {
			i = c.Deps.Len()
		}
		ref = uint64(i) + 1
	}
	b = binary.AppendUvarint(b, ref)
	if ref > uint64(c.Deps.Len()) {
		b = append(b, d.Replica[:]...)
	}
	return binary.AppendUvarint(b, d.Seq)
}

func (c *Change) readRef(r *Reader) Dot {
	ref := r.Uvarint()
	var d Dot
	switch {
	case ref == 0:
		d.Replica = c.Dot.Replica
	case ref <= uint64(c.Deps.Len()):
		d.Replica = c.Deps.At(int(ref) - 1).Replica
	case ref == uint64(c.Deps.Len())+1:
		d.Replica = r.Replica()
		if _, known := c.Deps.find(d.Replica); known || d.Replica == c.Dot.Replica {
			r.Fail("replica spelled out needlessly")
		}
	default:
		r.Fail("bad replica reference")
	}
	if d.Seq = r.Uvarint(); d.Seq == 0 {
		r.Fail("bad dot")
	}
	return d
}

// AppendBinary appends the change's encoding: a format version, dot, stamp,
// deps, and the mutations. Equal changes have equal encodings.
func (c *Change) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, changeFormat)
	b = appendDot(b, c.Dot)
	b = binary.AppendUvarint(b, uint64(c.Stamp))
	b, _ = c.Deps.AppendBinary(b)
	b = binary.AppendUvarint(b, uint64(len(c.Mutations)))
	for i := range c.Mutations {
		m := &c.Mutations[i]
		flags := byte(m.Delete) << deleteShift
		if m.Collection.IsZero() {
			flags |= flagSystem
		}
		if m.Fresh {
			flags |= flagFresh
		}
		b = append(b, flags, byte(m.Type))
		if !m.Collection.IsZero() {
			b = c.appendRef(b, m.Collection)
		}
		b = binary.AppendUvarint(b, uint64(len(m.ID)))
		b = append(b, m.ID...)
		b = binary.AppendUvarint(b, uint64(len(m.Context)))
		for _, d := range m.Context {
			b = c.appendRef(b, d)
		}
		b = binary.AppendUvarint(b, uint64(len(m.Payload)))
		b = append(b, m.Payload...)
	}
	return b, nil
}

// DecodeChange reads a change from the start of b and returns what follows it.
// Payloads share b's memory. Errors wrap ErrCorrupt.
func DecodeChange(b []byte) (*Change, []byte, error) {
	r := NewReader(b)
	if f := r.Byte(); r.err == nil && f != changeFormat {
		r.Fail("change format " + uitoa(uint64(f)) + " is not known here")
	}
	c := &Change{Header: Header{Dot: r.Dot(), Stamp: Stamp(r.Uvarint()), Deps: r.Vector()}}
	if c.Dot.IsZero() || c.Deps.Get(c.Dot.Replica) != c.Dot.Seq-1 {
		r.Fail("a change must depend on its predecessor")
	}
	n := r.Count(MaxMutations, 5)
	if n > 0 {
		c.Mutations = make([]Mutation, n)
	}
	for i := range c.Mutations {
		c.readMutation(r, &c.Mutations[i])
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	return c, r.b, nil
}

func (c *Change) readMutation(r *Reader, m *Mutation) {
	flags := r.Byte()
	if flags&^mutationMask != 0 || flags>>deleteShift > byte(DeleteWins) {
		r.Fail("bad mutation flags")
	}
	m.Fresh = flags&flagFresh != 0
	m.Delete = DeleteMode(flags >> deleteShift)
	m.Type = Type(r.Byte())
	if flags&flagSystem == 0 {
		m.Collection = c.readRef(r)
	}
	m.ID = string(r.Bytes(MaxIDBytes))
	if k := r.Count(MaxContext, 2); k > 0 {
		m.Context = make([]Dot, k)
		for i := range m.Context {
			m.Context[i] = c.readRef(r)
		}
	}
	m.Payload = r.Bytes(MaxChangeBytes)
}
