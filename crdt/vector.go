package crdt

import (
	"iter"
	"slices"
	"strconv"
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
	switch o {
	case Equal:
		return "equal"
	case Before:
		return "before"
	case After:
		return "after"
	case Concurrent:
		return "concurrent"
	}
	return "order(" + strconv.Itoa(int(o)) + ")"
}

// A Span names the changes From..To of one replica, both included.
type Span struct {
	Replica  ReplicaID
	From, To uint64
}

// VectorOf returns the least vector that contains all the dots.
func VectorOf(dots ...Dot) Vector {
	e := slices.DeleteFunc(slices.Clone(dots), func(d Dot) bool { return d.Seq == 0 })
	slices.SortFunc(e, Dot.Compare)
	n := 0
	for i := range e {
		if i+1 == len(e) || e[i+1].Replica != e[i].Replica {
			e[n] = e[i]
			n++
		}
	}
	return vector(e[:n])
}

// vector makes nothing of no entries, so that equal vectors are equal in Go too.
func vector(e []Dot) Vector {
	if len(e) == 0 {
		return Vector{}
	}
	return Vector{e}
}

// scannedEntries is up to how many entries a scan beats a binary search.
const scannedEntries = 12

func (v Vector) find(r ReplicaID) (int, bool) {
	if len(v.entries) > scannedEntries {
		return slices.BinarySearchFunc(v.entries, r, func(e Dot, r ReplicaID) int { return e.Replica.Compare(r) })
	}
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

// pairs yields, in replica order, what v and o know of each replica that either
// knows something of.
func pairs(v, o Vector) iter.Seq2[Dot, Dot] {
	return func(yield func(Dot, Dot) bool) {
		a, b := v.entries, o.entries
		for len(a) > 0 || len(b) > 0 {
			var x, y Dot
			c := -1
			if len(a) == 0 {
				c = 1
			} else if len(b) > 0 {
				c = a[0].Replica.Compare(b[0].Replica)
			}
			if c <= 0 {
				x, a = a[0], a[1:]
			}
			if c >= 0 {
				y, b = b[0], b[1:]
			}
			if !yield(x, y) {
				return
			}
		}
	}
}

// Join returns the element-wise maximum.
func (v Vector) Join(o Vector) Vector {
	switch {
	case v.Covers(o):
		return v
	case o.Covers(v):
		return o
	}
	e := make([]Dot, 0, len(v.entries)+len(o.entries))
	for x, y := range pairs(v, o) {
		if x.Seq < y.Seq {
			x = y
		}
		e = append(e, x)
	}
	return Vector{e}
}

// Meet returns the element-wise minimum: what both know.
func (v Vector) Meet(o Vector) Vector {
	e := make([]Dot, 0, min(len(v.entries), len(o.entries)))
	for x, y := range pairs(v, o) {
		if x.Seq > y.Seq {
			x = y
		}
		if x.Seq > 0 {
			e = append(e, x)
		}
	}
	return vector(e)
}

// Covers reports whether v contains everything that o contains.
func (v Vector) Covers(o Vector) bool {
	if len(o.entries) > len(v.entries) {
		return false
	}
	a := v.entries
	for _, e := range o.entries {
		for len(a) > 0 && a[0].Replica != e.Replica {
			a = a[1:]
		}
		if len(a) == 0 || a[0].Seq < e.Seq {
			return false
		}
		a = a[1:]
	}
	return true
}

// Equal reports whether v and o contain the same changes.
func (v Vector) Equal(o Vector) bool { return slices.Equal(v.entries, o.entries) }

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
	for x, y := range pairs(v, o) {
		if x.Seq < y.Seq {
			out = append(out, Span{Replica: y.Replica, From: x.Seq + 1, To: y.Seq})
		}
	}
	return out
}

// Lacks is the number of changes that o contains and v does not.
func (v Vector) Lacks(o Vector) uint64 {
	var n uint64
	a := v.entries
	for _, e := range o.entries {
		for len(a) > 0 && a[0].Replica.Compare(e.Replica) < 0 {
			a = a[1:]
		}
		switch {
		case len(a) == 0 || a[0].Replica != e.Replica:
			n += e.Seq
		case a[0].Seq < e.Seq:
			n += e.Seq - a[0].Seq
		}
	}
	return n
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
