package validate

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// OpID names an operation: the Lamport counter, and the actor as an index into
// the Actors of the change at hand. The zero OpID is the root, the head of a
// list, or nothing.
type OpID struct {
	Ctr   uint64
	Actor int
}

// Action is what an operation does.
type Action uint8

// The actions, by their numbers in the format.
const (
	MakeMap Action = iota
	Set
	MakeList
	Delete
	MakeText
	Increment
	MakeTable
	Mark
)

// Makes reports whether the action makes an object.
func (a Action) Makes() bool { return a == MakeMap || a == MakeList || a == MakeText || a == MakeTable }

// The types of values, in the format's numbers.
const (
	valNull = iota
	valFalse
	valTrue
	valUint
	valInt
	valFloat
	valText
	valBytes
	valCounter
	valTime
)

// An Op is one operation of a change.
type Op struct {
	Obj     OpID
	Key     string // of a map; InMap tells
	InMap   bool
	Elem    OpID // of a sequence
	Insert  bool
	Action  Action
	Type    uint8  // of the value
	Value   []byte // its raw form
	Pred    []OpID // what it replaces, ascending
	Expand  bool   // of a mark
	Mark    string // its name; HasMark tells
	HasMark bool
}

// A Change is a decoded change, which is well-formed by itself.
type Change struct {
	Hash    Hash
	Raw     []byte   // its chunk, not compressed
	Deps    []Hash   // ascending
	Actors  []string // its own, then the others that it refers to, ascending
	Seq     uint64
	StartOp uint64
	Time    int64
	Message string
	Ops     []Op
}

// Actor is who made the change.
func (c *Change) Actor() string { return c.Actors[0] }

// MaxOp is the counter of the last operation; StartOp-1 if there is none.
func (c *Change) MaxOp() uint64 { return c.StartOp + uint64(len(c.Ops)) - 1 }

// Column specifications: id<<4 | type.
const (
	colObjActor  = 0x01
	colObjCtr    = 0x02
	colKeyActor  = 0x11
	colKeyCtr    = 0x13
	colKeyText   = 0x15
	colIDActor   = 0x21
	colIDCtr     = 0x23
	colInsert    = 0x34
	colAction    = 0x42
	colValueMeta = 0x56
	colValue     = 0x57
	colPredNum   = 0x70
	colPredActor = 0x71
	colPredCtr   = 0x73
	colSuccNum   = 0x80
	colSuccActor = 0x81
	colSuccCtr   = 0x83
	colExpand    = 0x94
	colMarkName  = 0xa5
)

func columnSet(specs ...uint64) map[uint64]bool {
	m := make(map[uint64]bool, len(specs))
	for _, s := range specs {
		m[s] = true
	}
	return m
}

var changeColumns = columnSet(colObjActor, colObjCtr, colKeyActor, colKeyCtr, colKeyText, colInsert, colAction,
	colValueMeta, colValue, colPredNum, colPredActor, colPredCtr, colExpand, colMarkName)

// parseChange decodes the contents of a change chunk.
func parseChange(contents []byte, h Hash, l Limits) (*Change, error) {
	r := &reader{b: contents}
	c := &Change{Hash: h, Deps: r.ascending(maxDeps), Actors: []string{r.actor()}, Seq: r.uleb(), StartOp: r.uleb(), Time: r.sleb()}
	c.Message = string(r.bytes(maxText))
	for range r.size(maxActors) {
		c.Actors = append(c.Actors, r.actor())
		if r.err != nil {
			return nil, r.err
		}
	}
	specs := r.readSpecs(changeColumns, false)
	cols := columns{}
	for _, s := range specs {
		cols[s.spec] = r.take(s.size)
	}
	if len(r.b) > 0 {
		r.fail("extra bytes in a change")
	}
	if r.err != nil {
		return nil, r.err
	}
	var err error
	if c.Ops, err = decodeOps(cols, len(c.Actors), l); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	// What is encoded otherwise than the library does would change its hash
	// when the library encodes it again, and what it then saves is lost.
	again := c.encode()
	if !bytes.Equal(again, contents) {
		return nil, invalid("a change that is not in canonical form")
	}
	c.Raw, _ = sealChunk(chunkChange, again)
	return c, nil
}

// opColumns are what changes and documents have in common.
type opColumns struct {
	objActor, objCtr, keyActor []opt[uint64]
	keyCtr                     []opt[int64]
	keyText                    []opt[string]
	insert                     []bool
	action                     []opt[uint64]
	value                      []value
	groups                     [][]OpID // preds, or succs
	expand                     []bool
	mark                       []opt[string]
}

type value struct {
	typ uint8
	raw []byte
}

func decodeColumns(cols columns, actors, limit int, num, actor, ctr uint64) (*opColumns, error) {
	var o opColumns
	action, err := decodeUint(cols[colAction], limit)
	if errors.Is(err, ErrTooLarge) {
		err = tooLarge("more than %d operations (each character is one)", limit)
	}
	if err != nil {
		return nil, err
	}
	o.action = action
	n := len(action)
	step := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	uints := func(dst *[]opt[uint64], spec uint64) {
		step(func() (e error) {
			col, e := decodeUint(cols[spec], n)
			*dst, e = rows(col, e, n)
			return e
		})
	}
	uints(&o.objActor, colObjActor)
	uints(&o.objCtr, colObjCtr)
	uints(&o.keyActor, colKeyActor)
	step(func() (e error) {
		col, e := decodeDelta(cols[colKeyCtr], n)
		o.keyCtr, e = rows(col, e, n)
		return e
	})
	texts := func(dst *[]opt[string], spec uint64) {
		step(func() (e error) {
			col, e := decodeText(cols[spec], n)
			*dst, e = rows(col, e, n)
			return e
		})
	}
	texts(&o.keyText, colKeyText)
	texts(&o.mark, colMarkName)
	bools := func(dst *[]bool, spec uint64) {
		step(func() (e error) {
			col, e := decodeBool(cols[spec], n)
			*dst, e = rows(col, e, n)
			return e
		})
	}
	bools(&o.insert, colInsert)
	bools(&o.expand, colExpand)
	step(func() (e error) {
		o.value, e = decodeValues(cols[colValueMeta], cols[colValue], n)
		return e
	})
	step(func() (e error) {
		o.groups, e = decodeGroups(cols[num], cols[actor], cols[ctr], n, limit, actors)
		return e
	})
	if err != nil {
		return nil, err
	}
	return &o, nil
}

// decodeValues splits the raw values by their lengths and types.
func decodeValues(meta, raw []byte, n int) ([]value, error) {
	col, err := decodeUint(meta, n)
	if col, err = rows(col, err, n); err != nil {
		return nil, err
	}
	out := make([]value, n)
	r := &reader{b: raw}
	for i, m := range col {
		if m.ok {
			out[i].typ = uint8(m.v & 15)
			if m.v>>4 > uint64(len(r.b)) {
				return nil, invalid("truncated")
			}
			out[i].raw = r.take(int(m.v >> 4))
		}
	}
	return out, r.done()
}

// checkValue reports whether a value is one that is known, in its own form.
func (v value) check() error {
	r := &reader{b: v.raw}
	switch v.typ {
	case valNull, valFalse, valTrue:
	case valUint:
		r.uleb()
	case valInt, valCounter, valTime:
		r.sleb()
	case valFloat:
		r.take(8)
	case valText:
		if !utf8.Valid(r.take(len(r.b))) {
			r.fail("text that is not UTF-8")
		}
	case valBytes:
		r.take(len(r.b))
	default:
		return invalid("an unknown type of value")
	}
	return r.done()
}

// decodeGroups reads lists of operation ids, one list for each row.
func decodeGroups(num, actor, ctr []byte, n, limit, actors int) ([][]OpID, error) {
	counts, err := decodeUint(num, n)
	if counts, err = rows(counts, err, n); err != nil {
		return nil, err
	}
	total := 0
	for _, c := range counts {
		if c.v > uint64(limit-total) {
			return nil, tooLarge("more than %d operations", limit)
		}
		total += int(c.v)
	}
	as, err := decodeUint(actor, total)
	if as, err = rows(as, err, total); err != nil {
		return nil, err
	}
	cs, err := decodeDelta(ctr, total)
	if cs, err = rows(cs, err, total); err != nil {
		return nil, err
	}
	ids := make([]OpID, total)
	for i := range ids {
		if ids[i], err = opID(as[i], cs[i], actors); err != nil {
			return nil, err
		}
	}
	out := make([][]OpID, n)
	for i, c := range counts {
		if k := int(c.v); k > 0 {
			out[i], ids = ids[:k:k], ids[k:]
		}
	}
	return out, nil
}

// opID checks the id of an operation that is there.
func opID(actor opt[uint64], ctr opt[int64], actors int) (OpID, error) {
	if !actor.ok || !ctr.ok || actor.v >= uint64(actors) || ctr.v < 1 || ctr.v > maxCounter {
		return OpID{}, invalid("a malformed operation id")
	}
	return OpID{uint64(ctr.v), int(actor.v)}, nil
}

// place reads the object and key of row i.
func (o *opColumns) place(i, actors int) (obj OpID, key string, inMap bool, elem OpID, err error) {
	if o.objActor[i].ok || o.objCtr[i].ok {
		if o.objCtr[i].v > maxCounter {
			return obj, "", false, elem, invalid("a malformed operation id")
		}
		if obj, err = opID(o.objActor[i], opt[int64]{int64(o.objCtr[i].v), o.objCtr[i].ok}, actors); err != nil {
			return obj, "", false, elem, err
		}
	}
	inMap = o.keyText[i].ok
	switch k, a := o.keyCtr[i], o.keyActor[i]; {
	case inMap && (k.ok || a.ok), !inMap && !k.ok:
		err = invalid("a malformed key")
	case inMap:
		key = o.keyText[i].v
	case k.v == 0 && !a.ok: // the head
	default:
		elem, err = opID(a, k, actors)
	}
	return obj, key, inMap, elem, err
}

func decodeOps(cols columns, actors int, l Limits) ([]Op, error) {
	o, err := decodeColumns(cols, actors, l.ChangeOps, colPredNum, colPredActor, colPredCtr)
	if err != nil {
		return nil, err
	}
	ops := make([]Op, len(o.action))
	for i := range ops {
		op := &ops[i]
		if op.Obj, op.Key, op.InMap, op.Elem, err = o.place(i, actors); err != nil {
			return nil, err
		}
		if op.Action, err = action(o.action[i]); err != nil {
			return nil, err
		}
		op.Insert, op.Expand = o.insert[i], o.expand[i]
		op.Mark, op.HasMark = o.mark[i].v, o.mark[i].ok
		op.Type, op.Value, op.Pred = o.value[i].typ, o.value[i].raw, o.groups[i]
	}
	return ops, nil
}

func action(a opt[uint64]) (Action, error) {
	if !a.ok || a.v > uint64(Mark) {
		return 0, invalid("an unknown action")
	}
	return Action(a.v), nil
}

// check looks at what can be told from the change alone.
func (c *Change) check() error {
	others := c.Actors[1:]
	switch {
	case c.Seq == 0 || c.StartOp == 0:
		return invalid("a change without a number")
	case c.Seq > maxCounter || c.StartOp > maxCounter || c.MaxOp() > maxCounter:
		return invalid("a number out of bounds")
	case c.Time > maxTime || c.Time < -maxTime:
		return invalid("a time out of bounds")
	case !utf8.ValidString(c.Message):
		return invalid("a message that is not UTF-8")
	case !slices.IsSorted(others) || len(slices.Compact(slices.Clone(others))) < len(others) || slices.Contains(others, c.Actor()):
		return invalid("actors out of order")
	}
	used := make([]bool, len(c.Actors))
	used[0] = true
	for i := range c.Ops {
		if err := c.checkOp(i, used); err != nil {
			return err
		}
	}
	if slices.Contains(used, false) {
		return invalid("an actor that nothing refers to")
	}
	return nil
}

// compare orders operation ids as Automerge does.
func (c *Change) compare(a, b OpID) int {
	if a.Ctr != b.Ctr {
		if a.Ctr < b.Ctr {
			return -1
		}
		return 1
	}
	return strings.Compare(c.Actors[a.Actor], c.Actors[b.Actor])
}

func (c *Change) checkOp(i int, used []bool) error {
	op := &c.Ops[i]
	id := OpID{Ctr: c.StartOp + uint64(i)}
	refer := func(x OpID) error {
		used[x.Actor] = true
		if x.Ctr != 0 && c.compare(x, id) >= 0 {
			return invalid("an operation that refers to a later one")
		}
		return nil
	}
	for _, x := range []OpID{op.Obj, op.Elem} {
		if err := refer(x); err != nil {
			return err
		}
	}
	for k, p := range op.Pred {
		if err := refer(p); err != nil {
			return err
		}
		if k > 0 && c.compare(op.Pred[k-1], p) >= 0 {
			return invalid("predecessors out of order")
		}
	}
	switch {
	case op.Obj.Ctr == 0 && !op.InMap:
		return invalid("a list operation on the root")
	case op.Insert && (op.InMap || len(op.Pred) > 0):
		return invalid("an insertion into a map, or over something")
	case !op.Insert && !op.InMap && op.Elem.Ctr == 0:
		return invalid("an operation on the head of a list")
	}
	return op.checkAction()
}

func (op *Op) checkAction() error {
	if (op.HasMark || op.Expand) && op.Action != Mark {
		return invalid("a mark on something else")
	}
	switch op.Action {
	case MakeMap, MakeList, MakeText, MakeTable:
		if op.Type != valNull || len(op.Value) > 0 {
			return invalid("an object with a value")
		}
	case Delete:
		if op.Type != valNull || len(op.Value) > 0 || len(op.Pred) == 0 || op.Insert {
			return invalid("a malformed deletion")
		}
	case Increment:
		if op.Type != valInt && op.Type != valUint || len(op.Pred) == 0 || op.Insert {
			return invalid("a malformed increment")
		}
	case Mark:
		if !op.Insert || !op.HasMark && op.Type != valNull {
			return invalid("a malformed mark")
		}
	case Set:
	}
	return value{op.Type, op.Value}.check()
}

// encode writes the contents of the change's chunk as Automerge does.
func (c *Change) encode() []byte {
	b := appendUleb(nil, uint64(len(c.Deps)))
	for _, d := range c.Deps {
		b = append(b, d[:]...)
	}
	b = appendText(b, c.Actors[0])
	b = appendUleb(appendUleb(b, c.Seq), c.StartOp)
	b = appendSleb(b, c.Time)
	b = appendText(b, c.Message)
	b = appendUleb(b, uint64(len(c.Actors)-1))
	for _, a := range c.Actors[1:] {
		b = appendText(b, a)
	}
	type column struct {
		spec uint64
		data []byte
	}
	var cols []column
	for _, col := range c.encodeOps() {
		if len(col.data) > 0 {
			cols = append(cols, column(col))
		}
	}
	b = appendUleb(b, uint64(len(cols)))
	for _, col := range cols {
		b = appendUleb(appendUleb(b, col.spec), uint64(len(col.data)))
	}
	for _, col := range cols {
		b = append(b, col.data...)
	}
	return b
}

func ref(id OpID) (actor, ctr opt[uint64]) {
	if id.Ctr == 0 {
		return actor, ctr
	}
	return some(uint64(id.Actor)), some(id.Ctr)
}

// encodeOps returns the columns in ascending order.
func (c *Change) encodeOps() (cols []struct {
	spec uint64
	data []byte
}) {
	n := len(c.Ops)
	objActor, objCtr, keyActor := make([]opt[uint64], n), make([]opt[uint64], n), make([]opt[uint64], n)
	keyCtr, keyText := make([]opt[int64], n), make([]opt[string], n)
	insert, expand := make([]bool, n), make([]bool, n)
	actions, meta, num := make([]opt[uint64], n), make([]opt[uint64], n), make([]opt[uint64], n)
	mark := make([]opt[string], n)
	var raw []byte
	var predActor []opt[uint64]
	var predCtr []opt[int64]
	for i := range c.Ops {
		op := &c.Ops[i]
		objActor[i], objCtr[i] = ref(op.Obj)
		if op.InMap {
			keyText[i] = some(op.Key)
		} else {
			keyActor[i], _ = ref(op.Elem)
			keyCtr[i] = some(int64(op.Elem.Ctr))
		}
		insert[i], expand[i] = op.Insert, op.Expand
		actions[i] = some(uint64(op.Action))
		meta[i] = some(uint64(len(op.Value))<<4 | uint64(op.Type))
		raw = append(raw, op.Value...)
		num[i] = some(uint64(len(op.Pred)))
		for _, p := range op.Pred {
			predActor = append(predActor, some(uint64(p.Actor)))
			predCtr = append(predCtr, some(int64(p.Ctr)))
		}
		if op.HasMark {
			mark[i] = some(op.Mark)
		}
	}
	add := func(spec uint64, data []byte) {
		cols = append(cols, struct {
			spec uint64
			data []byte
		}{spec, data})
	}
	add(colObjActor, appendUints(nil, objActor))
	add(colObjCtr, appendUints(nil, objCtr))
	add(colKeyActor, appendUints(nil, keyActor))
	add(colKeyCtr, appendDeltas(nil, keyCtr))
	add(colKeyText, appendTexts(nil, keyText))
	add(colInsert, appendBools(nil, insert))
	add(colAction, appendUints(nil, actions))
	add(colValueMeta, appendUints(nil, meta))
	add(colValue, raw)
	add(colPredNum, appendUints(nil, num))
	add(colPredActor, appendUints(nil, predActor))
	add(colPredCtr, appendDeltas(nil, predCtr))
	if slices.Contains(expand, true) {
		add(colExpand, appendBools(nil, expand))
	}
	add(colMarkName, appendTexts(nil, mark))
	return cols
}
