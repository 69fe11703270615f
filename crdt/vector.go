package crdt

import (
	"iter"
	"slices"
	"strings"
)

// A Vector is a version vector: for each replica the highest sequence number
// below which everything is known. It is an immutable value: operations return
// a new one, the zero Vector knows nothing, and entries are kept in replica
// order so that equal vectors have equal encodings.
type Vector struct {
	entries []Dot // sorted by replica, Seq > 0
}

// Order is how two vectors relate.
type Order int

// The four relations of a partial order.
const (
	Equal Order = iota
	Before
	After
	Concurrent
)

func (o Order) String() string {
	return [...]string{"equal", "before", "after", "concurrent"}[o]
}

// A Span names the changes From..To of one replica, both included.
type Span struct {
	Replica  ReplicaID
	From, To uint64
}

// VectorOf returns the least vector that contains all the dots.
func VectorOf(dots ...Dot) Vector {
	var v Vector
	for _, d := range dots {
		v = v.With(d)
	}
	return v
}

func (v Vector) find(r ReplicaID) (int, bool) {
	// A handful of entries: a scan beats a binary search through a closure.
	for i := range v.entries {
		switch c := v.entries[i].Replica.Compare(r); {
		case c == 0:
			return i, true
		case c > 0:
			return i, false
		}
	}
	return len(v.entries), false
}

// Get returns the highest known sequence number of r, 0 if none.
func (v Vector) Get(r ReplicaID) uint64 {
	if i, ok := v.find(r); ok {
		return v.entries[i].Seq
	}
	return 0
}

// Contains reports whether the change named by d is known.
func (v Vector) Contains(d Dot) bool { return d.Seq <= v.Get(d.Replica) }

// Len is the number of replicas that the vector knows something of.
func (v Vector) Len() int { return len(v.entries) }

// At returns the i-th entry in replica order, as the dot of the highest known change.
func (v Vector) At(i int) Dot { return v.entries[i] }

// All yields the entries in replica order.
func (v Vector) All() iter.Seq2[ReplicaID, uint64] {
	return func(yield func(ReplicaID, uint64) bool) {
		for _, e := range v.entries {
			if !yield(e.Replica, e.Seq) {
				return
			}
		}
	}
}

// With returns v raised to contain d. A d with Seq 0 changes nothing.
func (v Vector) With(d Dot) Vector {
	i, ok := v.find(d.Replica)
	if (ok && v.entries[i].Seq >= d.Seq) || d.Seq == 0 {
		return v
	}
	if ok {
		e := slices.Clone(v.entries)
		e[i].Seq = d.Seq
		return Vector{e}
	}
	e := make([]Dot, len(v.entries)+1)
	copy(e, v.entries[:i])
	e[i] = d
	copy(e[i+1:], v.entries[i:])
	return Vector{e}
}

// Join returns the element-wise maximum.
func (v Vector) Join(o Vector) Vector {
	if len(v.entries) == 0 {
		return o
	}
	out := v
	for _, e := range o.entries {
		out = out.With(e)
	}
	return out
}

// Meet returns the element-wise minimum: what both know.
func (v Vector) Meet(o Vector) Vector {
	var e []Dot
	for _, d := range v.entries {
		if s := min(d.Seq, o.Get(d.Replica)); s > 0 {
			e = append(e, Dot{d.Replica, s})
		}
	}
	return Vector{e}
}

// Covers reports whether v contains everything that o contains.
func (v Vector) Covers(o Vector) bool {
	for _, e := range o.entries {
		if v.Get(e.Replica) < e.Seq {
			return false
		}
	}
	return true
}

// Compare says how v relates to o: Before means that o covers v and is more.
func (v Vector) Compare(o Vector) Order {
	vo, ov := v.Covers(o), o.Covers(v)
	switch {
	case vo && ov:
		return Equal
	case vo:
		return After
	case ov:
		return Before
	}
	return Concurrent
}

// Missing returns, in replica order, the spans that o contains and v does not.
func (v Vector) Missing(o Vector) []Span {
	var out []Span
	for _, e := range o.entries {
		if have := v.Get(e.Replica); have < e.Seq {
			out = append(out, Span{Replica: e.Replica, From: have + 1, To: e.Seq})
		}
	}
	return out
}

// Sum is the number of changes that the vector contains.
func (v Vector) Sum() uint64 {
	var n uint64
	for _, e := range v.entries {
		n += e.Seq
	}
	return n
}

// String returns "{replica:seq …}" for logs.
func (v Vector) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range v.entries {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(e.String())
	}
	b.WriteByte('}')
	return b.String()
}
