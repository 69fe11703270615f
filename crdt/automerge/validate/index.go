package validate

import (
	"slices"
	"sort"
)

// An Index knows a history well enough to tell whether a change can extend it:
// for each change where it stands, for each operation what it is about. It takes
// some 20 bytes an operation and 200 a change.
type Index struct {
	limits  Limits
	byHash  map[Hash]int32
	changes []indexed
	actors  map[string]int32
	chains  [][]int32 // the changes of each actor, by sequence number
	ops     []indexedOp
	keys    map[string]int32
	heads   map[int32]bool
	maxOp   uint64
}

type indexed struct {
	hash    Hash
	deps    []int32
	startOp uint64
	top     uint64 // greatest counter in it and its past
	ops     int32  // index of its first operation
	n       int32
	actor   int32
	next    int32 // how many changes depend on it
}

// An indexedOp is what references are checked against.
type indexedOp struct {
	obj    int32 // operation that made the object; root for the root
	slot   int32 // key, or operation that inserted the element
	action Action
	flags  uint8
	depth  uint16 // of the object that it makes
}

const (
	root      = int32(-1)
	isInsert  = 1
	isCounter = 2
	// maxLeap is how far a change may run ahead of the counters that are known.
	maxLeap = 1 << 20
)

// NewIndex returns the index of the empty history.
func NewIndex(l Limits) *Index {
	return &Index{
		limits: l.orDefault(), byHash: map[Hash]int32{}, actors: map[string]int32{},
		keys: map[string]int32{}, heads: map[int32]bool{},
	}
}

// Has reports whether the history has a change.
func (x *Index) Has(h Hash) bool { _, ok := x.byHash[h]; return ok }

// Len is the number of changes.
func (x *Index) Len() int { return len(x.changes) }

// Ops is the number of operations.
func (x *Index) Ops() int { return len(x.ops) }

// Size estimates the memory that the index takes.
func (x *Index) Size() int { return 256*len(x.changes) + 24*len(x.ops) + 1024 }

// Add checks a change and makes it part of the history. A change that is part
// of it already is left alone. After an error the index is as before.
func (x *Index) Add(c *Change) error { return x.add(c, true) }

// AddTrusted adds a change that was checked before, whatever the limits.
func (x *Index) AddTrusted(c *Change) error { return x.add(c, false) }

func (x *Index) add(c *Change, limited bool) error {
	if x.Has(c.Hash) {
		return nil
	}
	e := indexed{hash: c.Hash, startOp: c.StartOp, ops: int32(len(x.ops)), n: int32(len(c.Ops)), actor: -1}
	for _, d := range c.Deps {
		i, ok := x.byHash[d]
		if !ok {
			return &MissingError{Change: c.Hash, Dep: d}
		}
		e.deps = append(e.deps, i)
		e.top = max(e.top, x.changes[i].top)
	}
	if limited {
		if err := x.checkLimits(c); err != nil {
			return err
		}
	}
	past := x.past(e.deps)
	if err := x.checkChain(c, &e, past); err != nil {
		return err
	}
	a := adder{x: x, c: c, past: past, limited: limited, first: len(x.ops)}
	for i := range c.Ops {
		op, err := a.op(&c.Ops[i], i)
		if err != nil {
			x.ops = x.ops[:e.ops]
			return err
		}
		x.ops = append(x.ops, op)
	}
	if e.actor < 0 {
		e.actor = int32(len(x.chains))
		x.actors[c.Actor()] = e.actor
		x.chains = append(x.chains, nil)
	}
	at := int32(len(x.changes))
	x.byHash[c.Hash] = at
	x.chains[e.actor] = append(x.chains[e.actor], at)
	e.top = max(e.top, c.MaxOp())
	x.maxOp = max(x.maxOp, e.top)
	x.changes = append(x.changes, e)
	for _, d := range e.deps {
		delete(x.heads, d)
		x.changes[d].next++
	}
	x.heads[at] = true
	return nil
}

// A MissingError is a change whose dependency the history lacks.
type MissingError struct{ Change, Dep Hash }

func (e *MissingError) Error() string {
	return ErrMissing.Error() + ": " + e.Change.String() + " needs " + e.Dep.String()
}

// Unwrap returns ErrMissing.
func (e *MissingError) Unwrap() error { return ErrMissing }

func (x *Index) checkLimits(c *Change) error {
	switch l := x.limits; {
	case len(x.changes) >= l.Changes:
		return tooLarge("the document has %d changes, no more are allowed", len(x.changes))
	case len(c.Ops) > l.ChangeOps:
		return tooLarge("a change of %d operations, at most %d are allowed", len(c.Ops), l.ChangeOps)
	case len(x.ops)+len(c.Ops) > l.Ops:
		return tooLarge("the document would have %d operations in its history (each character is one), at most %d are allowed",
			len(x.ops)+len(c.Ops), l.Ops)
	}
	return nil
}

// past is the set of changes below deps, nil for all.
func (x *Index) past(deps []int32) []bool {
	if len(deps) == len(x.heads) && !slices.ContainsFunc(deps, func(d int32) bool { return !x.heads[d] }) {
		return nil
	}
	in := make([]bool, len(x.changes))
	todo := slices.Clone(deps)
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !in[d] {
			in[d] = true
			todo = append(todo, x.changes[d].deps...)
		}
	}
	return in
}

// checkChain checks a change against the one before it of the same actor.
func (x *Index) checkChain(c *Change, e *indexed, past []bool) error {
	seq := uint64(1)
	if a, ok := x.actors[c.Actor()]; ok {
		e.actor = a
		chain := x.chains[a]
		seq = uint64(len(chain)) + 1
		if n := len(chain); n > 0 && c.Seq == seq && past != nil && !past[chain[n-1]] {
			return invalid("a change that has not seen its actor's last one")
		}
	}
	switch {
	case c.Seq != seq:
		return invalid("change %d of its actor where %d is next", c.Seq, seq)
	case c.StartOp <= e.top:
		return invalid("operations that are numbered below what their change had seen")
	case c.StartOp > max(e.top, x.maxOp)+maxLeap:
		return invalid("operations that are numbered far ahead")
	}
	return nil
}

// adder checks the operations of one change.
type adder struct {
	x       *Index
	c       *Change
	past    []bool
	limited bool
	first   int // operation of the change
}

// find returns the operation that id names, which must be in the change itself
// or in its past.
func (a *adder) find(id OpID) (int32, error) {
	if id.Actor == 0 && id.Ctr >= a.c.StartOp {
		return int32(a.first + int(id.Ctr-a.c.StartOp)), nil // c.check has seen that it is an earlier one
	}
	actor, ok := a.x.actors[a.c.Actors[id.Actor]]
	if !ok {
		return 0, errNowhere
	}
	chain := a.x.chains[actor]
	k := sort.Search(len(chain), func(k int) bool { return a.x.changes[chain[k]].startOp > id.Ctr }) - 1
	for ; k >= 0; k-- { // an empty change may start where the next one does
		e := &a.x.changes[chain[k]]
		if e.n == 0 {
			continue
		}
		if id.Ctr < e.startOp || id.Ctr >= e.startOp+uint64(e.n) || a.past != nil && !a.past[chain[k]] {
			break
		}
		return e.ops + int32(id.Ctr-e.startOp), nil
	}
	return 0, errNowhere
}

var errNowhere = invalid("an operation refers to what is not in its past")

func (a *adder) op(op *Op, i int) (indexedOp, error) {
	out := indexedOp{obj: root, action: op.Action}
	kind, depth := MakeMap, uint16(0)
	if op.Obj.Ctr > 0 {
		obj, err := a.find(op.Obj)
		if err != nil {
			return out, err
		}
		made := a.x.ops[obj]
		if !made.action.Makes() {
			return out, invalid("an operation on what is not an object")
		}
		out.obj, kind, depth = obj, made.action, made.depth
	}
	if inMap := kind == MakeMap || kind == MakeTable; inMap != op.InMap {
		return out, invalid("a key that does not fit the object")
	}
	if op.Action.Makes() {
		if out.depth = depth + 1; a.limited && int(out.depth) > a.x.limits.Depth {
			return out, tooLarge("objects nested deeper than %d", a.x.limits.Depth)
		}
	}
	if op.Action == Mark && kind != MakeText {
		return out, invalid("a mark outside of text")
	}
	if op.Type == valCounter {
		out.flags |= isCounter
	}
	var err error
	switch {
	case op.InMap:
		out.slot = a.key(op.Key)
	case op.Insert:
		out.flags |= isInsert
		out.slot = int32(a.first + i)
		if op.Elem.Ctr > 0 {
			_, err = a.element(op.Elem, out.obj)
		}
	default:
		out.slot, err = a.element(op.Elem, out.obj)
	}
	if err != nil {
		return out, err
	}
	return out, a.preds(op, out)
}

func (a *adder) key(k string) int32 {
	n, ok := a.x.keys[k]
	if !ok {
		n = int32(len(a.x.keys))
		a.x.keys[k] = n
	}
	return n
}

// element finds the insertion of a list element.
func (a *adder) element(id OpID, obj int32) (int32, error) {
	e, err := a.find(id)
	if err != nil {
		return 0, err
	}
	if x := a.x.ops[e]; x.flags&isInsert == 0 || x.obj != obj {
		return 0, invalid("an element of another list")
	}
	return e, nil
}

// preds checks that what an operation replaces is in the same place.
func (a *adder) preds(op *Op, is indexedOp) error {
	counts := op.Action != Increment
	for _, p := range op.Pred {
		k, err := a.find(p)
		if err != nil {
			return err
		}
		was := a.x.ops[k]
		switch {
		case was.obj != is.obj || was.slot != is.slot || (was.flags&isInsert != 0) && op.InMap:
			return invalid("an operation replaces something in another place")
		case was.action == Delete || was.action == Increment || was.action == Mark:
			return invalid("an operation replaces what is not a value")
		}
		counts = counts || was.flags&isCounter != 0
	}
	if !counts { // other values may be there, concurrently
		return invalid("an increment of what is not a counter")
	}
	return nil
}

// Rewind takes the latest changes out again, until n are left.
func (x *Index) Rewind(n int) {
	for len(x.changes) > n {
		at := int32(len(x.changes) - 1)
		e := x.changes[at]
		delete(x.byHash, e.hash)
		chain := x.chains[e.actor]
		x.chains[e.actor] = chain[:len(chain)-1]
		x.ops = x.ops[:e.ops]
		x.changes = x.changes[:at]
		delete(x.heads, at)
		for _, d := range e.deps {
			if x.changes[d].next--; x.changes[d].next == 0 {
				x.heads[d] = true
			}
		}
	}
}
