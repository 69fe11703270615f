package validate

import (
	"cmp"
	"crypto/sha256"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Condense writes what a history shows as a history of its own, which does not
// know the old one: changes of one actor, with at most perChange operations each,
// that make every object, element, value and mark that is visible. What was
// deleted or overwritten is left out, and counters are their sums. Of concurrent
// values of one place there is the one that shown names, by the operation that
// set it; where it names none, or is nil, the one that Automerge shows.
//
// Equal histories and names give equal bytes. The changes must be ones that an
// Index has let through, dependencies first.
func Condense(history []*Change, shown func(actor string, ctr uint64) bool, perChange int) []*Change {
	x := &condenser{actors: map[string]int{}, ops: map[OpID]*kept{}, objects: map[OpID]*object{}, shown: shown}
	for _, c := range history {
		x.read(c)
	}
	x.write()
	return x.seal(perChange)
}

// A kept operation makes an object, or sets a value, or is an end of a mark. Its
// actor is an index into those of the condenser.
type kept struct {
	id   OpID
	op   *Op
	over int    // how many operations replace it
	sum  int64  // of the increments of a counter
	as   uint64 // its new counter
}

// An object is a map or a sequence.
type object struct {
	keys  map[string][]*kept
	after map[OpID][]*kept // insertions, by what they follow
	over  map[OpID][]*kept // other values of elements
}

type condenser struct {
	names   []string
	actors  map[string]int
	ops     map[OpID]*kept
	objects map[OpID]*object
	shown   func(actor string, ctr uint64) bool
	time    int64 // of the latest change
	out     []Op
}

func (x *condenser) actor(name string) int {
	i, ok := x.actors[name]
	if !ok {
		i = len(x.names)
		x.actors[name] = i
		x.names = append(x.names, name)
	}
	return i
}

func (x *condenser) compare(a, b *kept) int {
	return cmp.Or(cmp.Compare(a.id.Ctr, b.id.Ctr), strings.Compare(x.names[a.id.Actor], x.names[b.id.Actor]))
}

func (x *condenser) object(id OpID) *object {
	o := x.objects[id]
	if o == nil {
		o = &object{keys: map[string][]*kept{}, after: map[OpID][]*kept{}, over: map[OpID][]*kept{}}
		x.objects[id] = o
	}
	return o
}

// read takes in the operations of a change.
func (x *condenser) read(c *Change) {
	x.time = max(x.time, c.Time)
	local := make([]int, len(c.Actors))
	for i, a := range c.Actors {
		local[i] = x.actor(a)
	}
	id := func(o OpID) OpID {
		if o.Ctr == 0 {
			return o
		}
		return OpID{o.Ctr, local[o.Actor]}
	}
	for i := range c.Ops {
		op := &c.Ops[i]
		for _, p := range op.Pred {
			if k := x.ops[id(p)]; k != nil {
				k.replace(op)
			}
		}
		if op.Action == Delete || op.Action == Increment {
			continue
		}
		k := &kept{id: OpID{c.StartOp + uint64(i), local[0]}, op: op}
		x.ops[k.id] = k
		switch o, at := x.object(id(op.Obj)), id(op.Elem); {
		case op.InMap:
			o.keys[op.Key] = append(o.keys[op.Key], k)
		case op.Insert:
			o.after[at] = append(o.after[at], k)
		default:
			o.over[at] = append(o.over[at], k)
		}
	}
}

// replace notes that an operation goes over another. A counter outlives its
// increments, nothing else does.
func (k *kept) replace(by *Op) {
	if by.Action != Increment || k.op.Type != valCounter {
		k.over++
		return
	}
	r := &reader{b: by.Value}
	if by.Type == valUint {
		k.sum += int64(r.uleb())
	} else {
		k.sum += r.sleb()
	}
}

// write makes the new operations, object by object.
func (x *condenser) write() {
	type made struct {
		old OpID
		as  uint64
	}
	todo := []made{{}}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		o := x.objects[next.old]
		if o == nil {
			continue // it is empty
		}
		for _, k := range x.contents(o, OpID{Ctr: next.as}) {
			if k.op.Action.Makes() {
				todo = append(todo, made{k.id, k.as})
			}
		}
	}
}

// contents writes what is in an object, and returns its values.
func (x *condenser) contents(o *object, at OpID) (values []*kept) {
	for _, key := range slices.Sorted(maps.Keys(o.keys)) {
		if k := x.value(o.keys[key]); k != nil {
			x.emit(k, Op{Obj: at, Key: key, InMap: true})
			values = append(values, k)
		}
	}
	items := []item{{}} // the head
	for k := range x.inOrder(o) {
		if k.op.Action == Mark {
			items = append(items, item{mark: k})
			continue
		}
		if k = x.value(append([]*kept{k}, o.over[k.id]...)); k != nil {
			last := OpID{}
			if n := len(values); n > 0 {
				last.Ctr = values[n-1].as
			}
			items = append(items, item{as: x.emit(k, Op{Obj: at, Elem: last, Insert: true})})
			values = append(values, k)
		}
	}
	x.marks(items, at)
	return values
}

// value is what a place shows, nil if that is nothing.
func (x *condenser) value(ks []*kept) (shown *kept) {
	named := false
	for _, k := range ks {
		if k.over > 0 || k.op.Action == Mark {
			continue
		}
		is := x.shown != nil && x.shown(x.names[k.id.Actor], k.id.Ctr)
		if shown == nil || is && !named || is == named && x.compare(k, shown) > 0 {
			shown, named = k, is
		}
	}
	return shown
}

// emit adds an operation like k's at a place, and returns its counter.
func (x *condenser) emit(k *kept, at Op) uint64 {
	at.Action, at.Type, at.Value = k.op.Action, k.op.Type, k.op.Value
	at.Expand, at.Mark, at.HasMark = k.op.Expand, k.op.Mark, k.op.HasMark
	if k.op.Type == valCounter && k.sum != 0 {
		r := &reader{b: k.op.Value}
		at.Value = appendSleb(nil, r.sleb()+k.sum)
	}
	x.out = append(x.out, at)
	k.as = uint64(len(x.out))
	return k.as
}

// An item is an element of a sequence, or an end of a mark.
type item struct {
	mark          *kept  // nil for an element
	before, after int    // of those that are there when it is written; 0 is the head
	as            uint64 // its new counter
}

// inOrder visits the elements of a sequence as they stand in it: what was
// inserted after an element follows it, the latest first.
func (x *condenser) inOrder(o *object) iter.Seq[*kept] {
	return func(yield func(*kept) bool) {
		var todo []*kept // the next one last
		push := func(at OpID) {
			next := o.after[at]
			slices.SortFunc(next, x.compare)
			todo = append(todo, next...)
		}
		push(OpID{})
		for len(todo) > 0 {
			k := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !yield(k) {
				return
			}
			push(k.id)
		}
	}
}

// marks writes the marks that have an element in them. The end of a mark is the
// operation after its beginning, and of marks that overlap the later one counts.
func (x *condenser) marks(items []item, obj OpID) {
	ends := map[OpID]int{}
	elements := make([]int, len(items)) // up to each item
	for i := 1; i < len(items); i++ {
		elements[i] = elements[i-1]
		if k := items[i].mark; k == nil {
			elements[i]++
		} else if !k.op.HasMark {
			ends[k.id] = i
		}
	}
	var begins []int
	end := func(begin int) int {
		id := items[begin].mark.id
		return ends[OpID{id.Ctr + 1, id.Actor}]
	}
	for i := range items {
		if k := items[i].mark; k != nil && k.op.HasMark && elements[end(i)] > elements[i] {
			begins = append(begins, i)
		}
	}
	slices.SortFunc(begins, func(a, b int) int { return x.compare(items[a].mark, items[b].mark) })
	written := make([]int, 0, 2*len(begins))
	for _, i := range begins {
		written = append(written, i, end(i))
	}
	link(items, written)
	for _, i := range written {
		items[i].as = x.emit(items[i].mark, Op{Obj: obj, Elem: OpID{Ctr: items[items[i].before].as}, Insert: true})
	}
}

// link finds what each mark stands behind at the moment when it is written: all
// elements are there before, and the marks come in the given order.
func link(items []item, written []int) {
	there := make([]bool, len(items))
	for i := range items {
		there[i] = items[i].mark == nil
	}
	for _, i := range written {
		there[i] = true
	}
	last := 0
	for i := 1; i < len(items); i++ {
		if there[i] {
			items[i].before, items[last].after = last, i
			last = i
		}
	}
	for _, i := range slices.Backward(written) {
		it := &items[i]
		items[it.before].after = it.after
		if it.after > 0 {
			items[it.after].before = it.before
		}
	}
}

// seal makes changes of the operations. What they write names their actor, so
// that no actor has two histories.
func (x *condenser) seal(perChange int) []*Change {
	h := sha256.New()
	for _, c := range x.changes("", perChange) {
		h.Write(c.Raw)
	}
	return x.changes(string(h.Sum(nil)[:16]), perChange)
}

func (x *condenser) changes(actor string, perChange int) (out []*Change) {
	for first := 0; first < len(x.out) || first == 0; first += perChange {
		c := &Change{
			Actors: []string{actor}, Seq: uint64(len(out)) + 1, StartOp: uint64(first) + 1, Time: x.time,
			Ops: x.out[first:min(first+perChange, len(x.out))],
		}
		if n := len(out); n > 0 {
			c.Deps = []Hash{out[n-1].Hash}
		}
		c.Raw, c.Hash = sealChunk(chunkChange, c.encode())
		out = append(out, c)
	}
	return out
}
