package validate

import (
	"cmp"
	"errors"
	"slices"
)

// Columns of the changes in a document.
const (
	colChangeActor   = 0x01
	colChangeSeq     = 0x03
	colChangeMaxOp   = 0x13
	colChangeTime    = 0x23
	colChangeMessage = 0x35
	colChangeDepsNum = 0x40
	colChangeDeps    = 0x43
	colExtraMeta     = 0x56
	colExtra         = 0x57
)

var (
	documentChangeColumns = columnSet(colChangeActor, colChangeSeq, colChangeMaxOp, colChangeTime, colChangeMessage,
		colChangeDepsNum, colChangeDeps, colExtraMeta, colExtra)
	documentOpColumns = columnSet(colObjActor, colObjCtr, colKeyActor, colKeyCtr, colKeyText, colIDActor, colIDCtr,
		colInsert, colAction, colValueMeta, colValue, colSuccNum, colSuccActor, colSuccCtr, colExpand, colMarkName)
)

// readColumns takes the columns' data and inflates what is compressed. budget
// is what is left to inflate.
func (r *reader) readColumns(specs []columnSpec, budget *int) columns {
	cols := columns{}
	for _, s := range specs {
		b := r.take(s.size)
		if s.spec&specDeflate != 0 && r.err == nil {
			out, err := inflate(b, *budget)
			if err != nil {
				r.err, r.b = err, nil
				return nil
			}
			*budget -= len(out)
			b = out
		}
		cols[s.spec&^specDeflate] = b
	}
	return cols
}

// A docChange is a row of a document's changes.
type docChange struct {
	actor   int
	seq     uint64
	maxOp   uint64
	time    int64
	message string
	deps    []int
	ops     []docOp
}

// docOp is an operation with ids in terms of the document's actors.
type docOp struct {
	ctr uint64
	op  Op
}

// parseDocument takes a document's contents apart into its changes.
func parseDocument(contents []byte, l Limits) ([]*Change, error) {
	r := &reader{b: contents}
	actors := make([]string, r.size(min(maxActors, len(contents))))
	for i := range actors {
		actors[i] = r.actor()
		if i > 0 && actors[i-1] >= actors[i] {
			r.fail("actors out of order")
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	heads := r.ascending(maxDeps)
	budget := l.Inflated
	changeSpecs := r.readSpecs(documentChangeColumns, true)
	opSpecs := r.readSpecs(documentOpColumns, true)
	changeCols := r.readColumns(changeSpecs, &budget)
	opCols := r.readColumns(opSpecs, &budget)
	if len(r.b) > 0 { // where the heads are among the changes, which shows by itself
		for range heads {
			r.uleb()
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	rows, err := decodeDocChanges(changeCols, len(actors), l)
	if err != nil {
		return nil, err
	}
	if err := distributeOps(rows, opCols, actors, l); err != nil {
		return nil, err
	}
	return assemble(rows, actors, heads)
}

func decodeDocChanges(cols columns, actors int, l Limits) ([]docChange, error) {
	if len(cols[colExtra]) > 0 {
		return nil, invalid("extra bytes in a change")
	}
	who, err := decodeUint(cols[colChangeActor], l.Changes)
	if errors.Is(err, ErrTooLarge) {
		err = tooLarge("more than %d changes in a history", l.Changes)
	}
	if err != nil {
		return nil, err
	}
	n := len(who)
	seqs, err := decodeDelta(cols[colChangeSeq], n)
	if seqs, err = rows(seqs, err, n); err != nil {
		return nil, err
	}
	maxOps, err := decodeDelta(cols[colChangeMaxOp], n)
	if maxOps, err = rows(maxOps, err, n); err != nil {
		return nil, err
	}
	times, err := decodeDelta(cols[colChangeTime], n)
	if times, err = rows(times, err, n); err != nil {
		return nil, err
	}
	messages, err := decodeText(cols[colChangeMessage], n)
	if messages, err = rows(messages, err, n); err != nil {
		return nil, err
	}
	counts, err := decodeUint(cols[colChangeDepsNum], n)
	if counts, err = rows(counts, err, n); err != nil {
		return nil, err
	}
	deps, err := decodeDelta(cols[colChangeDeps], 8*l.Changes)
	if err != nil {
		return nil, err
	}
	out := make([]docChange, n)
	for i := range out {
		if !who[i].ok || who[i].v >= uint64(actors) || seqs[i].v < 1 || maxOps[i].v < 0 || maxOps[i].v > maxCounter {
			return nil, invalid("a malformed change")
		}
		c := &out[i]
		c.actor, c.seq, c.maxOp = int(who[i].v), uint64(seqs[i].v), uint64(maxOps[i].v)
		c.time, c.message = times[i].v, messages[i].v
		if counts[i].v > uint64(len(deps)) {
			return nil, invalid("a change without its dependencies")
		}
		for _, d := range deps[:counts[i].v] {
			if !d.ok || d.v < 0 || d.v >= int64(i) {
				return nil, invalid("a change that depends on a later one")
			}
			c.deps = append(c.deps, int(d.v))
		}
		deps = deps[counts[i].v:]
	}
	if len(deps) > 0 {
		return nil, invalid("dependencies of nothing")
	}
	return out, nil
}

// distributeOps gives the operations, which a document holds by object, back to
// the changes that they came in, and turns successors into predecessors and
// deletions.
func distributeOps(changes []docChange, cols columns, actors []string, l Limits) error {
	o, err := decodeColumns(cols, len(actors), l.Ops, colSuccNum, colSuccActor, colSuccCtr)
	if err != nil {
		return err
	}
	n := len(o.action)
	idActor, err := decodeUint(cols[colIDActor], n)
	if idActor, err = rows(idActor, err, n); err != nil {
		return err
	}
	idCtr, err := decodeDelta(cols[colIDCtr], n)
	if idCtr, err = rows(idCtr, err, n); err != nil {
		return err
	}
	ops := make(map[OpID]*Op, n)
	for i := range n {
		id, err := opID(idActor[i], idCtr[i], len(actors))
		if err != nil {
			return err
		}
		op := &Op{Insert: o.insert[i], Expand: o.expand[i], Mark: o.mark[i].v, HasMark: o.mark[i].ok,
			Type: o.value[i].typ, Value: o.value[i].raw}
		if op.Obj, op.Key, op.InMap, op.Elem, err = o.place(i, len(actors)); err != nil {
			return err
		}
		if op.Action, err = action(o.action[i]); err != nil {
			return err
		}
		if ops[id] != nil || op.Action == Delete {
			return invalid("an operation that is there twice, or a stored deletion")
		}
		ops[id] = op
	}
	for i := range n {
		id := OpID{uint64(idCtr[i].v), int(idActor[i].v)}
		replaced := ops[id]
		for _, s := range o.groups[i] {
			by := ops[s]
			if by == nil {
				by = &Op{Obj: replaced.Obj, Key: replaced.Key, InMap: replaced.InMap, Elem: replaced.Elem, Action: Delete}
				if replaced.Insert {
					by.Elem = id
				}
				ops[s] = by
			}
			by.Pred = append(by.Pred, id)
		}
		if len(ops) > l.Ops {
			return tooLarge("more than %d operations", l.Ops)
		}
	}
	return toChanges(changes, ops, len(actors))
}

// toChanges hands out the operations by their ids.
func toChanges(changes []docChange, ops map[OpID]*Op, actors int) error {
	byActor := make([][]int, actors)
	for i := range changes {
		byActor[changes[i].actor] = append(byActor[changes[i].actor], i)
	}
	for _, list := range byActor {
		slices.SortFunc(list, func(a, b int) int { return cmp.Compare(changes[a].seq, changes[b].seq) })
		for k, i := range list {
			if changes[i].seq != uint64(k)+1 || k > 0 && changes[i].maxOp < changes[list[k-1]].maxOp {
				return invalid("the changes of an actor have gaps")
			}
		}
	}
	for id, op := range ops {
		list := byActor[id.Actor]
		k, _ := slices.BinarySearchFunc(list, id.Ctr, func(i int, ctr uint64) int { return cmp.Compare(changes[i].maxOp, ctr) })
		if k == len(list) {
			return invalid("an operation without a change")
		}
		// Of several changes with the same greatest counter, all but the first are empty.
		c := &changes[list[k]]
		c.ops = append(c.ops, docOp{id.Ctr, *op})
	}
	return nil
}

// assemble makes changes of the rows; their hashes must lead to the heads.
func assemble(rows []docChange, actors []string, heads []Hash) ([]*Change, error) {
	out := make([]*Change, len(rows))
	followed := make([]bool, len(rows))
	for i := range rows {
		row := &rows[i]
		slices.SortFunc(row.ops, func(a, b docOp) int { return cmp.Compare(a.ctr, b.ctr) })
		n := uint64(len(row.ops))
		if n > row.maxOp {
			return nil, invalid("operations without numbers")
		}
		c := &Change{Seq: row.seq, StartOp: row.maxOp - n + 1, Time: row.time, Message: row.message}
		for _, d := range row.deps {
			c.Deps = append(c.Deps, out[d].Hash)
			followed[d] = true
		}
		slices.SortFunc(c.Deps, func(a, b Hash) int { return cmp.Compare(string(a[:]), string(b[:])) })
		if len(slices.Compact(slices.Clone(c.Deps))) < len(c.Deps) {
			return nil, invalid("a dependency that is there twice")
		}
		for k := range row.ops {
			if row.ops[k].ctr != c.StartOp+uint64(k) {
				return nil, invalid("operations with gaps")
			}
			c.Ops = append(c.Ops, row.ops[k].op)
		}
		c.localActors(row.actor, actors)
		if err := c.check(); err != nil {
			return nil, err
		}
		c.Raw, c.Hash = sealChunk(chunkChange, c.encode())
		out[i] = c
	}
	var ends []Hash
	for i, c := range out {
		if !followed[i] {
			ends = append(ends, c.Hash)
		}
	}
	slices.SortFunc(ends, func(a, b Hash) int { return cmp.Compare(string(a[:]), string(b[:])) })
	if !slices.Equal(ends, heads) {
		return nil, invalid("the changes do not lead to the heads")
	}
	return out, nil
}

// localActors renumbers the actors of c's operations, which are the document's,
// and sorts the predecessors.
func (c *Change) localActors(own int, actors []string) {
	used := map[int]bool{}
	each := func(f func(id *OpID)) {
		for i := range c.Ops {
			op := &c.Ops[i]
			for _, id := range []*OpID{&op.Obj, &op.Elem} {
				if id.Ctr > 0 {
					f(id)
				}
			}
			for k := range op.Pred {
				f(&op.Pred[k])
			}
		}
	}
	each(func(id *OpID) { used[id.Actor] = true })
	delete(used, own)
	others := make([]int, 0, len(used))
	for a := range used {
		others = append(others, a)
	}
	slices.Sort(others)
	local := map[int]int{own: 0}
	c.Actors = []string{actors[own]}
	for i, a := range others {
		local[a] = i + 1
		c.Actors = append(c.Actors, actors[a])
	}
	each(func(id *OpID) { id.Actor = local[id.Actor] })
	for i := range c.Ops {
		slices.SortFunc(c.Ops[i].Pred, c.compare)
	}
}
