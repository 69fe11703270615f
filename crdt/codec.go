package crdt

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"unicode/utf8"
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

// Formats of a change: one that was made for a Request has it at its end.
const (
	changeFormat        = 1
	changeFormatRequest = 2
)

// Flags in the byte of the format: a trace follows it, or what is told of who
// holds the change. A change without them has not a byte more for it.
const (
	flagTraced    = 0x10
	flagResidency = 0x20
)

// traceSize is that of an encoded Trace.
const traceSize = 16 + 8

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

// failWith makes the reader fail with err, if it is one and the reader has not failed.
func (r *Reader) failWith(err error) {
	if err != nil && r.err == nil {
		r.err, r.b = err, nil
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
	flagSystem    = 1 << iota // the zero collection; its dot is left out
	flagFresh                 // Fresh
	deleteShift   = iota      // two bits of DeleteMode
	decisionShift = deleteShift + 2
	mutationMask  = flagSystem | flagFresh | 3<<deleteShift | 3<<decisionShift
)

// A dot inside a change names what the writer knew, so its replica is written as
// a reference: 0 is the change's own, i the i-th entry of Deps (from 1).
func (c *Change) appendRef(b []byte, d Dot) ([]byte, error) {
	ref := 0
	if d.Replica != c.Dot.Replica {
		i, _ := c.Deps.find(d.Replica)
		ref = i + 1
	}
	if d.Seq == 0 || !c.Deps.Contains(d) {
		return nil, fmt.Errorf("%w: change %v refers to %v, which is not in its Deps", ErrCorrupt, c.Dot, d)
	}
	b = binary.AppendUvarint(b, uint64(ref))
	return binary.AppendUvarint(b, d.Seq), nil
}

func (c *Change) readRef(r *Reader) Dot {
	d, known := Dot{Replica: c.Dot.Replica}, c.Dot.Seq-1
	if ref := r.Uvarint(); ref > uint64(c.Deps.Len()) {
		r.Fail("bad replica reference")
	} else if ref > 0 {
		e := c.Deps.At(int(ref) - 1)
		if e.Replica == c.Dot.Replica {
			r.Fail("a change's own replica spelled out")
		}
		d.Replica, known = e.Replica, e.Seq
	}
	if d.Seq = r.Uvarint(); d.Seq == 0 || d.Seq > known {
		r.Fail("a dot that its writer had not seen")
	}
	return d
}

// check reports what DecodeChange would refuse but for the references.
func (c *Change) check() error {
	if !c.Trace.IsZero() && !c.Trace.valid() {
		return fmt.Errorf("%w: change %v has a trace without an id", ErrCorrupt, c.Dot)
	}
	if c.Dot.Seq == 0 || c.Dot.Replica.IsZero() || c.Deps.Get(c.Dot.Replica) != c.Dot.Seq-1 {
		return fmt.Errorf("%w: change %v must depend on its predecessor", ErrCorrupt, c.Dot)
	}
	if c.Deps.Len() > MaxReplicas || len(c.Mutations) > MaxMutations {
		return fmt.Errorf("%w: a change of %d documents and %d replicas, at most %d and %d are allowed",
			ErrTooLarge, len(c.Mutations), c.Deps.Len(), MaxMutations, MaxReplicas)
	}
	for i := range c.Mutations {
		m := &c.Mutations[i]
		if m.Type == 0 || m.ID == "" || len(m.ID) > MaxIDBytes || !utf8.ValidString(m.ID) {
			return fmt.Errorf("%w: a mutation of %v %.40q", ErrCorrupt, m.Type, m.ID)
		}
		if err := m.Check(c.Header); err != nil {
			return err
		}
	}
	if err := c.checkResidency(); err != nil {
		return err
	}
	if c.Request != nil && len(c.Request.Docs) != len(c.Mutations) {
		return fmt.Errorf("%w: the answer to a request is about %d documents, the change about %d", ErrCorrupt, len(c.Request.Docs), len(c.Mutations))
	}
	if c.repeats() {
		return fmt.Errorf("%w: a change has two mutations of one document", ErrCorrupt)
	}
	return nil
}

// repeats reports whether two mutations are of one document.
func (c *Change) repeats() bool {
	type document struct {
		collection Dot
		id         string
	}
	if len(c.Mutations) < 2 {
		return false
	}
	seen := make(map[document]struct{}, len(c.Mutations))
	for i := range c.Mutations {
		seen[document{c.Mutations[i].Collection, c.Mutations[i].ID}] = struct{}{}
	}
	return len(seen) < len(c.Mutations)
}

// AppendBinary appends the change's encoding: a format version, the trace and the
// residency if there is one, dot, stamp, deps, the mutations, and the request if there is one. Equal
// changes have equal encodings. It refuses what
// DecodeChange would: ErrTooLarge, or ErrCorrupt for a defect of the caller.
func (c *Change) AppendBinary(b []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	start := len(b)
	format := byte(changeFormat)
	if c.Request != nil {
		format = changeFormatRequest
	}
	if c.Residency != nil {
		format |= flagResidency
	}
	if c.Trace.IsZero() {
		b = append(b, format)
	} else {
		b = append(b, format|flagTraced)
		b = append(append(b, c.Trace.ID[:]...), c.Trace.Span[:]...)
	}
	if c.Residency != nil {
		b = c.Residency.append(b)
	}
	b = appendDot(b, c.Dot)
	b = binary.AppendUvarint(b, uint64(c.Stamp))
	b, _ = c.Deps.AppendBinary(b)
	b = binary.AppendUvarint(b, uint64(len(c.Mutations)))
	for i := range c.Mutations {
		var err error
		if b, err = c.appendMutation(b, &c.Mutations[i]); err != nil {
			return nil, err
		}
	}
	if c.Request != nil {
		b = c.Request.append(b)
	}
	if n := len(b) - start; n > MaxChangeBytes {
		return nil, fmt.Errorf("%w: a change of %d bytes, at most %d are allowed", ErrTooLarge, n, MaxChangeBytes)
	}
	return b, nil
}

// Flags of what an answer said of a document.
const (
	answerCreated = 1 << iota
	answerExists
)

func (q *Request) append(b []byte) []byte {
	b = append(append(b, q.Key[:]...), q.Body[:]...)
	for i := range q.Docs {
		d := &q.Docs[i]
		var flags byte
		if d.Created {
			flags |= answerCreated
		}
		if d.Exists {
			flags |= answerExists
		}
		b = append(append(b, flags), d.Heads[:]...)
	}
	return b
}

func readRequest(r *Reader, docs int) *Request {
	q := &Request{Key: RequestHash(r.Fixed(RequestHashSize)), Body: RequestHash(r.Fixed(RequestHashSize))}
	if docs > 0 {
		q.Docs = make([]RequestDoc, docs)
	}
	for i := range q.Docs {
		flags := r.Byte()
		if flags&^(answerCreated|answerExists) != 0 {
			r.Fail("bad flags of an answer")
		}
		q.Docs[i] = RequestDoc{
			Created: flags&answerCreated != 0, Exists: flags&answerExists != 0,
			Heads: [HeadsHashSize]byte(r.Fixed(HeadsHashSize)),
		}
	}
	return q
}

func (c *Change) appendMutation(b []byte, m *Mutation) (_ []byte, err error) {
	flags := byte(m.Delete)<<deleteShift | byte(m.Decision)<<decisionShift
	if m.Collection.IsZero() {
		flags |= flagSystem
	}
	if m.Fresh {
		flags |= flagFresh
	}
	b = append(b, flags, byte(m.Type))
	if !m.Collection.IsZero() {
		if b, err = c.appendRef(b, m.Collection); err != nil {
			return nil, err
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.ID)))
	b = append(b, m.ID...)
	b = binary.AppendUvarint(b, uint64(len(m.Context)))
	for _, d := range m.Context {
		if b, err = c.appendRef(b, d); err != nil {
			return nil, err
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.Payload)))
	return append(b, m.Payload...), nil
}

// DecodeChange reads a change from the start of b and returns what follows it.
// Payloads share b's memory. Errors wrap ErrCorrupt.
func DecodeChange(b []byte) (*Change, []byte, error) {
	r := NewReader(b)
	f := r.Byte()
	traced, resident := f&flagTraced != 0, f&flagResidency != 0
	f &^= flagTraced | flagResidency
	if r.err == nil && f != changeFormat && f != changeFormatRequest {
		r.Fail("change format " + uitoa(uint64(f)) + " is not known here")
	}
	var t Trace
	if traced {
		b := r.Fixed(traceSize)
		if t = (Trace{[16]byte(b), [8]byte(b[16:])}); !t.valid() {
			r.Fail("a trace without an id")
		}
	}
	c := &Change{Trace: t}
	if resident {
		c.Residency = readResidency(r)
	}
	c.Header = Header{Dot: r.Dot(), Stamp: Stamp(r.Uvarint()), Deps: r.Vector()}
	if c.Dot.IsZero() || c.Deps.Get(c.Dot.Replica) != c.Dot.Seq-1 {
		r.Fail("a change must depend on its predecessor")
	}
	if n := r.Count(MaxMutations, minMutation); n > 0 {
		c.Mutations = make([]Mutation, n)
	}
	for i := range c.Mutations {
		c.readMutation(r, &c.Mutations[i])
		if r.err != nil {
			return nil, nil, r.err
		}
	}
	if f == changeFormatRequest {
		c.Request = readRequest(r, len(c.Mutations))
	}
	if len(b)-len(r.b) > MaxChangeBytes {
		r.Fail("a change of too many bytes")
	}
	if r.err == nil && c.repeats() {
		r.Fail("two mutations of one document")
	}
	if r.err == nil {
		r.failWith(c.checkResidency())
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	return c, r.b, nil
}

// minMutation is the size of the shortest encoded mutation: flags, type, an id of
// one byte, and two counts of nothing.
const minMutation = 6

func (c *Change) readMutation(r *Reader, m *Mutation) {
	flags := r.Byte()
	if flags&^mutationMask != 0 || flags>>deleteShift&3 > byte(DeleteWins) || flags>>decisionShift > byte(DecisionKeep) {
		r.Fail("bad mutation flags")
	}
	m.Fresh = flags&flagFresh != 0
	m.Delete, m.Decision = DeleteMode(flags>>deleteShift&3), Decision(flags>>decisionShift)
	if m.Type = Type(r.Byte()); m.Type == 0 {
		r.Fail("a mutation without a type")
	}
	if flags&flagSystem == 0 {
		m.Collection = c.readRef(r)
	}
	if m.ID = string(r.Bytes(MaxIDBytes)); m.ID == "" || !utf8.ValidString(m.ID) {
		r.Fail("bad document id")
	}
	if k := r.Count(MaxContext, 2); k > 0 {
		m.Context = make([]Dot, k)
		for i := range m.Context {
			m.Context[i] = c.readRef(r)
		}
	}
	m.Payload = r.Bytes(MaxChangeBytes)
	if r.err == nil {
		r.failWith(m.Check(c.Header))
	}
}
