package check

import (
	"github.com/meridiandb/meridian/e2e/history"
)

// A node of the causal order is an acknowledged operation, or one of unknown
// outcome whose value was seen.
type node struct {
	op    int
	chain int   // its process, or a chain of its own if its outcome is unknown
	pos   int32 // in the chain, from 1
	preds []int // nodes: the one before in the process, and the writes that it saw
	succs []int
	// past has for each chain the last position that comes before this node, or is
	// this node. It is dropped where it is not needed any more.
	past []int32
}

type order struct {
	*indexed
	nodes  []node
	ofOp   map[int]int
	chains int
	// writes has by place and chain the nodes that wrote there, in order.
	writesAt map[place]map[int][]int
	// read are the values that a process has read, for naming violations.
	read map[string]map[valueAt]bool
}

// causal checks what depends on the causal order: the least transitive relation
// that contains the order of each process and has each read after what it saw.
func (h *indexed) causal() {
	o := &order{indexed: h, ofOp: map[int]int{}, writesAt: map[place]map[int][]int{}, read: map[string]map[valueAt]bool{}}
	o.build()
	var conflicts [][2]int
	if o.walk(func(n int) { conflicts = append(conflicts, o.look(n)...) }) {
		o.converges(conflicts)
	}
}

// build makes the nodes.
func (o *order) build() {
	chains := map[string]int{}
	last := map[string]int{}
	for i, op := range o.ops {
		ordered := op.Object == history.Register || op.Object == history.Siblings || op.Object == history.Set || op.Object == history.List || op.Object == history.Text
		_, seen := o.seen[valueAt{o.at(i), op.Value}]
		if !ordered || op.Result == history.Refused || op.Result == history.Unknown && (op.Kind == history.Read || !seen) {
			continue
		}
		n := node{op: i, pos: 1}
		before, follows := last[op.Process]
		if follows {
			n.preds = append(n.preds, before)
		}
		if op.Result == history.OK {
			chain, ok := chains[op.Process]
			if !ok {
				chain = o.chains
				chains[op.Process] = chain
				o.chains++
			}
			n.chain = chain
			if follows {
				n.pos = o.nodes[before].pos + 1
			}
			last[op.Process] = len(o.nodes)
		} else {
			n.chain = o.chains
			o.chains++
		}
		o.ofOp[i] = len(o.nodes)
		o.nodes = append(o.nodes, n)
	}
	for i := range o.nodes {
		n := &o.nodes[i]
		op := o.ops[n.op]
		for _, value := range append(op.Values, op.Saw...) {
			if w, ok := o.writes[valueAt{o.at(n.op), value}]; ok {
				if by, ok := o.ofOp[w]; ok && by != i {
					n.preds = append(n.preds, by)
				}
			}
		}
		for _, p := range n.preds {
			o.nodes[p].succs = append(o.nodes[p].succs, i)
		}
	}
}

// walk visits all nodes in causal order, with their past, and reports whether
// it is an order.
func (o *order) walk(visit func(n int)) bool {
	waits := make([]int, len(o.nodes))
	need := make([]int, len(o.nodes)) // successors that have not been visited
	var ready []int
	for i := range o.nodes {
		waits[i], need[i] = len(o.nodes[i].preds), len(o.nodes[i].succs)
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	visited := 0
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		n := &o.nodes[i]
		n.past = make([]int32, o.chains)
		for _, p := range n.preds {
			for c, pos := range o.nodes[p].past {
				n.past[c] = max(n.past[c], pos)
			}
			if need[p]--; need[p] == 0 && o.ops[o.nodes[p].op].Kind == history.Read {
				o.nodes[p].past = nil
			}
		}
		n.past[n.chain] = n.pos
		visit(i)
		visited++
		for _, s := range n.succs {
			if waits[s]--; waits[s] == 0 {
				ready = append(ready, s)
			}
		}
	}
	if visited == len(o.nodes) {
		return true
	}
	o.add(CausalConvergence, o.op(o.nodes[o.onCycle(waits)].op), "CyclicCO: the operation comes before itself in the causal order")
	return false
}

// onCycle returns a node on a cycle: going back from one that waits, among those
// that wait, comes to one.
func (o *order) onCycle(waits []int) int {
	i := 0
	for waits[i] == 0 {
		i++
	}
	for passed := map[int]bool{}; !passed[i]; {
		passed[i] = true
		for _, p := range o.nodes[i].preds {
			if waits[p] > 0 {
				i = p
				break
			}
		}
	}
	return i
}

// look checks one operation against its past. It returns the conflicts, as CCv
// has them: pairs of writes to a register of which the second one has to win.
func (o *order) look(i int) (conflicts [][2]int) {
	n := o.nodes[i]
	op := o.ops[n.op]
	at := o.at(n.op)
	if op.Kind != history.Read {
		if o.writesAt[at] == nil {
			o.writesAt[at] = map[int][]int{}
		}
		o.writesAt[at][n.chain] = append(o.writesAt[at][n.chain], i)
		return nil
	}
	switch op.Object {
	case history.Set, history.List, history.Text:
		o.lookGrowing(i, at)
	case history.Register:
		conflicts = o.lookRegister(i, at)
	case history.Siblings, history.Counter, history.Bank, history.Clock: // see the checks of the end
	}
	if o.read[op.Process] == nil {
		o.read[op.Process] = map[valueAt]bool{}
	}
	for _, value := range op.Values {
		o.read[op.Process][valueAt{at, value}] = true
	}
	return conflicts
}

// lookGrowing: a read of what only grows has all that comes before it.
func (o *order) lookGrowing(i int, at place) {
	n := o.nodes[i]
	op := o.ops[n.op]
	has := make(map[string]bool, len(op.Values))
	for _, value := range op.Values {
		has[value] = true
	}
	for chain, writes := range o.writesAt[at] {
		for _, w := range writes {
			if o.nodes[w].pos > n.past[chain] {
				break
			}
			if write := o.ops[o.nodes[w].op]; !has[write.Value] {
				check, by := o.classify(op, at, w)
				o.add(check, o.op(append([]int{o.nodes[w].op}, append(by, n.op)...)...), "the read lacks %q", write.Value)
			}
		}
	}
}

// classify says which of the session guarantees a read violates that lacks the
// write w, and shows by which operations.
func (o *order) classify(read history.Op, at place, w int) (check string, by []int) {
	write := o.ops[o.nodes[w].op]
	if write.Process == read.Process {
		return ReadYourWrites, nil
	}
	if o.read[read.Process][valueAt{at, write.Value}] {
		return MonotonicReads, nil
	}
	check = Causal
	for _, value := range read.Values {
		f, ok := o.writes[valueAt{at, value}]
		if !ok {
			continue
		}
		fn, ok := o.ofOp[f]
		if !ok || o.nodes[fn].past == nil || o.nodes[fn].past[o.nodes[w].chain] < o.nodes[w].pos {
			continue
		}
		if o.ops[f].Process == write.Process {
			return MonotonicWrites, []int{f}
		}
		check, by = WritesFollowReads, []int{f}
	}
	return check, by
}

// lookRegister looks for WriteCOInitRead and WriteCORead, and returns the
// conflicts that the read shows.
func (o *order) lookRegister(i int, at place) (conflicts [][2]int) {
	n := o.nodes[i]
	op := o.ops[n.op]
	shown := -1
	if len(op.Values) > 0 {
		w, ok := o.writes[valueAt{at, op.Values[0]}]
		if !ok {
			return nil // reported
		}
		if shown, ok = o.ofOp[w]; !ok {
			return nil // refused, and reported
		}
	}
	for chain, writes := range o.writesAt[at] {
		last := -1
		for _, w := range writes {
			if o.nodes[w].pos > n.past[chain] {
				break
			}
			last = w
		}
		switch {
		case last < 0 || last == shown:
		case shown < 0:
			o.add(o.registerCheck(op, last), o.op(o.nodes[last].op, n.op), "WriteCOInitRead: the read shows nothing")
		case o.nodes[last].past[o.nodes[shown].chain] >= o.nodes[shown].pos:
			o.add(o.registerCheck(op, last), o.op(o.nodes[shown].op, o.nodes[last].op, n.op),
				"WriteCORead: the read shows %q, which %q had replaced", op.Values[0], o.ops[o.nodes[last].op].Value)
		default:
			conflicts = append(conflicts, [2]int{last, shown})
		}
	}
	return conflicts
}

// registerCheck names what a read of a register violates that does not heed a write.
func (o *order) registerCheck(read history.Op, w int) string {
	if o.ops[o.nodes[w].op].Process == read.Process {
		return ReadYourWrites
	}
	return CausalConvergence
}

// converges looks for CyclicCF: the causal order and the conflicts together are
// an order.
func (o *order) converges(conflicts [][2]int) {
	known := map[[2]int]bool{}
	for _, c := range conflicts {
		if !known[c] {
			known[c] = true
			o.nodes[c[0]].succs = append(o.nodes[c[0]].succs, c[1])
			o.nodes[c[1]].preds = append(o.nodes[c[1]].preds, c[0])
		}
	}
	waits := make([]int, len(o.nodes))
	var ready []int
	for i := range o.nodes {
		if waits[i] = len(o.nodes[i].preds); waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	visited := 0
	for ; len(ready) > 0; visited++ {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for _, s := range o.nodes[i].succs {
			if waits[s]--; waits[s] == 0 {
				ready = append(ready, s)
			}
		}
	}
	if visited < len(o.nodes) {
		o.add(CausalConvergence, o.op(o.nodes[o.onCycle(waits)].op), "CyclicCF: no order of all writes explains which values were shown")
	}
}
