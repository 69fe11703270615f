package document

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Prepare implements [crdt.State].
//
// An edit on a document that does not exist: a put, a merge patch and operations
// make one; a JSON patch, a deletion and a resolution are ErrNotFound.
//
// An edit that is based on an older version is made to that version, and only
// its differences become operations. What it removes is what that version had;
// what has come since stays. Where it edits inside a list element that has been
// deleted since, the element is inserted again as the edit leaves it, and where
// a neighbour in a list is gone, the nearest one before it that still lives
// takes its place: no operation refers to what its writer's region sees dead. If
// the document itself was deleted since, it is written anew as the edit leaves
// it; but where the deletion wins over edits, that is ErrConflict.
func (d *Doc) Prepare(e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) (crdt.Mutation, error) {
	if err := checkEdit(&e, l); err != nil {
		return crdt.Mutation{}, err
	}
	if e.Kind == crdt.EditDelete || e.Kind == crdt.EditResolve && e.Value == nil && e.Mode != crdt.NotDelete && len(e.Path) == 0 {
		return d.prepareDelete(e)
	}
	ed := &editor{hd: hd, resolve: resolve, limits: l}
	m := crdt.Mutation{Type: crdt.TypeDocument, Context: d.heads.Dots()}
	var err error
	switch {
	case d.heads.Visible():
		err = d.prepareOver(ed, e, &m)
	default:
		m.Fresh = true
		err = d.prepareFresh(ed, e)
	}
	if err != nil {
		return crdt.Mutation{}, err
	}
	if m.Payload, err = encodeOps(hd, ed.ops); err != nil {
		return crdt.Mutation{}, fmt.Errorf("prepare: %w", err)
	}
	if err := d.checkLimits(ed, &m); err != nil {
		return crdt.Mutation{}, err
	}
	return m, nil
}

func checkEdit(e *crdt.Edit, l crdt.Limits) error {
	vs := []any{e.Value}
	if e.HasBaseValue {
		vs = append(vs, e.BaseValue)
	}
	for _, o := range e.Ops {
		vs = append(vs, o.Value)
	}
	for _, v := range vs {
		if err := value.Check(v, l.Value); err != nil {
			return refused(err)
		}
	}
	switch e.Kind {
	case crdt.EditPut:
		if _, ok := e.Value.(map[string]any); !ok {
			return errRoot
		}
		if _, ok := e.BaseValue.(map[string]any); !ok && e.HasBaseValue {
			return errRoot
		}
	case crdt.EditMergePatch:
		if _, ok := e.Value.(map[string]any); !ok {
			return errRoot
		}
	case crdt.EditResolve, crdt.EditJSONPatch, crdt.EditOps, crdt.EditDelete:
	default:
		return fmt.Errorf("%w: a document knows no edit of kind %d", crdt.ErrRefused, e.Kind)
	}
	if e.Base != nil {
		if _, ok := e.Base.(*Doc); !ok {
			return fmt.Errorf("%w: the base is not a document", crdt.ErrRefused)
		}
	}
	return nil
}

var errRoot = fmt.Errorf("%w: a document is a JSON object", crdt.ErrRefused)

// refused turns an error of package value into one of package crdt.
func refused(err error) error {
	sentinel := crdt.ErrRefused
	switch {
	case errors.Is(err, value.ErrTooLarge), errors.Is(err, value.ErrTooDeep):
		sentinel = crdt.ErrTooLarge
	case errors.Is(err, value.ErrPatchPath), errors.Is(err, value.ErrPatchTest):
		sentinel = crdt.ErrConflict
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

func (d *Doc) prepareDelete(e crdt.Edit) (crdt.Mutation, error) {
	m := crdt.Mutation{Type: crdt.TypeDocument, Delete: e.Mode, Context: d.heads.Dots()}
	if m.Delete != crdt.DeleteEditWins && m.Delete != crdt.DeleteWins {
		return crdt.Mutation{}, fmt.Errorf("%w: unknown delete mode %d", crdt.ErrRefused, m.Delete)
	}
	if !d.heads.Visible() {
		return crdt.Mutation{}, crdt.ErrNotFound
	}
	return m, d.cover(e, &m)
}

// cover makes the heads in e.Covers, if there are any, m's context.
func (d *Doc) cover(e crdt.Edit, m *crdt.Mutation) error {
	if e.Kind != crdt.EditResolve || len(e.Covers) == 0 {
		return nil
	}
	for _, c := range e.Covers {
		if !slices.Contains(m.Context, c) {
			return fmt.Errorf("%w: %v is not a version of the document", crdt.ErrConflict, c)
		}
	}
	m.Context = slices.Clone(e.Covers)
	slices.SortFunc(m.Context, crdt.Dot.Compare)
	m.Context = slices.Compact(m.Context)
	return nil
}

// prepareOver edits a document that exists.
func (d *Doc) prepareOver(ed *editor, e crdt.Edit, m *crdt.Mutation) error {
	ed.p = d.fork(false)
	ed.b = ed.p
	switch base, _ := e.Base.(*Doc); {
	case base != nil:
		m.Context = base.heads.Dots()
		ed.dual = true
		if ed.b = base.fork(false); !base.heads.Visible() {
			ed.b.clear()
		}
		if n := d.newHeads(m.Context); ed.limits.Siblings > 0 && n > ed.limits.Siblings {
			return fmt.Errorf("%w: the document would have %d concurrent versions, at most %d are allowed; resolve it first",
				crdt.ErrTooManySiblings, n, ed.limits.Siblings)
		}
	case e.HasBaseValue && e.Kind == crdt.EditPut:
		b, err := ed.rewind(e.BaseValue.(map[string]any))
		if err != nil {
			return err
		}
		ed.b, ed.dual = b, true
	case e.Kind == crdt.EditResolve && len(e.Path) == 0:
		if err := d.cover(e, m); err != nil {
			return err
		}
	}
	if err := ed.edit(e); err != nil {
		return err
	}
	return ed.revive()
}

// newHeads is how many heads there are once those in context are superseded.
func (d *Doc) newHeads(context []crdt.Dot) int {
	n := 1
	for _, h := range d.heads.All() {
		if !slices.Contains(context, h.Dot) {
			n++
		}
	}
	return n
}

// prepareFresh writes a document where there is none.
func (d *Doc) prepareFresh(ed *editor, e crdt.Edit) error {
	base, _ := e.Base.(*Doc)
	if base != nil && !base.heads.Visible() {
		base = nil
	}
	var whole map[string]any
	switch {
	case base != nil || e.HasBaseValue && e.Kind == crdt.EditPut:
		for _, h := range d.heads.All() {
			if h.Delete == crdt.DeleteWins && (base == nil || !slices.Contains(base.heads.Dots(), h.Dot)) {
				return fmt.Errorf("%w: the document was deleted since the version that the edit is based on", crdt.ErrConflict)
			}
		}
		var err error
		if whole, err = ed.aside(base, e); err != nil {
			return err
		}
	case e.Kind == crdt.EditJSONPatch || e.Kind == crdt.EditResolve:
		return crdt.ErrNotFound
	}
	ed.p = d.fork(false)
	// What is hidden goes. Its marks need no naming, but its counters' cells do:
	// elsewhere they may have been added to concurrently.
	var g seen
	g.slot(ed.p.root)
	if len(g.cells) > 0 {
		ed.ops = append(ed.ops, op{code: opRemove, remove: removal{cells: g.removal().cells}})
	}
	ed.p.leave(ed.hd)
	ed.b = ed.p
	if whole != nil {
		e = crdt.Edit{Kind: crdt.EditPut, Value: whole}
	}
	return ed.edit(e)
}

// aside makes the edit to an older version and returns what that gives.
func (ed *editor) aside(base *Doc, e crdt.Edit) (map[string]any, error) {
	if base == nil || e.Kind == crdt.EditPut {
		return e.Value.(map[string]any), nil
	}
	f := base.fork(false)
	side := &editor{hd: ed.hd, resolve: ed.resolve, limits: ed.limits, b: f, p: f}
	if err := side.edit(e); err != nil {
		return nil, err
	}
	r := renderer{resolve: ed.resolve}
	return r.mapValue(f.root.m), nil
}

// checkLimits refuses an edit after which the document is beyond its limits,
// unless it makes the document smaller.
func (d *Doc) checkLimits(ed *editor, m *crdt.Mutation) error {
	if len(m.Payload) > crdt.MaxChangeBytes/2 {
		return fmt.Errorf("%w: the change takes %d bytes, at most %d are allowed", crdt.ErrTooLarge, len(m.Payload), crdt.MaxChangeBytes/2)
	}
	size := d.size + grown(m.Payload)
	limit := ed.limits.Value
	if limit.MaxBytes <= 0 {
		limit.MaxBytes = value.DefaultMaxBytes
	}
	if limit.MaxItems <= 0 {
		limit.MaxItems = value.DefaultMaxItems
	}
	state := ed.limits.State
	if state <= 0 {
		state = crdt.DefaultLimits.State
	}
	err := error(nil)
	if size > state {
		enc, _ := ed.p.AppendBinary(nil)
		if len(enc) > state {
			err = fmt.Errorf("%w: its state would take %d bytes, at most %d are allowed", crdt.ErrTooLarge, len(enc), state)
		}
	}
	// JSON takes up to six times what the encoding does, which has at least
	// three bytes for each item.
	if err == nil && (6*size > limit.MaxBytes || size > 3*limit.MaxItems) {
		limit.MaxDepth = maxDepth // checked where values are put
		r := renderer{resolve: ed.resolve}
		if err = value.Check(r.mapValue(ed.p.root.m), limit); err != nil {
			err = refused(err)
		}
	}
	if err != nil && ed.p.smaller(d) {
		return nil
	}
	return err
}

func (d *Doc) smaller(than *Doc) bool {
	a, _ := d.AppendBinary(nil)
	b, _ := than.AppendBinary(nil)
	return len(a) < len(b)
}

// An editor turns an edit into operations. It works on two documents: b is what
// the edit is made to, p the present; without a base they are one. Paths and
// indices are those of b; every operation that is made is applied to both.
type editor struct {
	hd      crdt.Header
	resolve crdt.Resolve
	limits  crdt.Limits
	b, p    *Doc
	dual    bool // b and p differ
	ops     []op
	n       uint32 // of the next tag
	ghosts  uint32 // of the next tag that exists in b only
	// missing are the elements of b that were edited and are dead in p.
	missing []missing
	copied  int // bytes, by "copy"
}

type missing struct {
	list path
	elem tag
}

// ghost is the dot of what exists in b only. No replica has the zero id.
var ghost = crdt.Dot{Seq: 1}

func (ed *editor) edit(e crdt.Edit) error {
	switch e.Kind {
	case crdt.EditPut:
		return ed.diffMap(place{}, e.Value.(map[string]any), false)
	case crdt.EditMergePatch:
		return ed.mergePatch(place{}, e.Value.(map[string]any))
	case crdt.EditJSONPatch:
		return ed.each(e.Ops, ed.jsonPatchOp)
	case crdt.EditOps:
		return ed.each(e.Ops, ed.ownOp)
	default:
		return ed.resolution(e)
	}
}

func (ed *editor) each(ops []value.Op, do func(o *value.Op) error) error {
	for i := range ops {
		if err := do(&ops[i]); err != nil {
			return fmt.Errorf("operation %d (%q): %w", i, ops[i].Op, err)
		}
	}
	return nil
}

// rewind returns the present as it would be if v were shown: parts that are the
// same keep their tags, others have tags that nothing else has. So an edit that
// is based on v removes of the present only what v shows too.
func (ed *editor) rewind(v map[string]any) (*Doc, error) {
	f := ed.p.fork(false)
	side := &editor{hd: ed.hd, resolve: ed.resolve, limits: ed.limits, b: f, p: f}
	side.hd.Dot = ghost
	if err := side.diffMap(place{}, v, false); err != nil {
		return nil, err
	}
	ed.ghosts = side.n
	return f, nil
}

// A place is a slot of b, by its path and as a JSON pointer.
type place struct {
	path path
	at   value.Pointer
}

func (pl place) key(k string) place {
	return place{pl.path.key(k), append(slices.Clip(pl.at), k)}
}

func (pl place) element(l *list, i int32, token string) place {
	return place{pl.path.element(l.nodes[i].elem, i), append(slices.Clip(pl.at), token)}
}

// find returns the slot at p, or nil.
func (d *Doc) find(p path) *slot {
	s := d.root
	for _, st := range p {
		switch {
		case s == nil:
			return nil
		case !st.isElem:
			s = s.m.child(st.key)
		default:
			i := s.l.element(st.elem, st.hint)
			if i < 0 {
				return nil
			}
			s = s.l.nodes[i].slot
		}
	}
	return s
}

// dead returns the index of the first step of p that leads to an element which
// does not live in the present, or -1.
func (ed *editor) dead(p path) int {
	if !ed.dual {
		return -1
	}
	s := ed.p.root
	for k, st := range p {
		if !st.isElem {
			if s != nil {
				s = s.m.child(st.key)
			}
			continue
		}
		if s == nil {
			return k
		}
		i := s.l.element(st.elem, st.hint)
		if i < 0 || s.l.nodes[i].dead != live {
			return k
		}
		s = s.l.nodes[i].slot
	}
	return -1
}

// do makes an operation: in the present, in b, and in the mutation. forB, if not
// nil, is what it is in b.
func (ed *editor) do(o op, forB *op) error {
	if k := ed.dead(o.path); k >= 0 {
		if o.code != opRemove {
			ed.miss(o.path[:k], o.path[k].elem)
		}
		if forB != nil {
			o = *forB
		}
		return ed.inBase(o)
	}
	n := ed.n
	if ed.dual {
		if forB == nil {
			c := o
			forB = &c
		}
		a := applier{doc: ed.b, own: ed.b.own, dot: ed.hd.Dot, stamp: ed.hd.Stamp, n: n, loose: true}
		if err := a.do(forB); err != nil {
			return err
		}
		o.remove = o.remove.real()
	}
	if o.code == opRemove && len(o.remove.tags) == 0 && len(o.remove.cells) == 0 {
		return nil
	}
	a := applier{doc: ed.p, own: ed.p.own, dot: ed.hd.Dot, stamp: ed.hd.Stamp, n: n}
	if err := a.do(&o); err != nil {
		return err
	}
	ed.n = a.n
	ed.ops = append(ed.ops, o)
	return nil
}

// inBase makes an operation in b only.
func (ed *editor) inBase(o op) error {
	a := applier{doc: ed.b, own: ed.b.own, dot: ghost, stamp: ed.hd.Stamp, n: ed.ghosts, loose: true}
	err := a.do(&o)
	ed.ghosts = a.n
	return err
}

// real returns r without what exists in b only.
func (r removal) real() removal {
	fake := func(d crdt.Dot) bool { return d.Replica.IsZero() }
	return removal{
		tags:  slices.DeleteFunc(slices.Clone(r.tags), func(t tagRange) bool { return fake(t.dot) }),
		cells: slices.DeleteFunc(slices.Clone(r.cells), func(c cellRef) bool { return fake(c.tag.dot) }),
	}
}

func (ed *editor) miss(list path, elem tag) {
	if !slices.ContainsFunc(ed.missing, func(m missing) bool { return m.elem == elem }) {
		ed.missing = append(ed.missing, missing{slices.Clone(list), elem})
	}
}

// revive inserts the elements again that were edited in b and are dead in the
// present, as they are in b.
func (ed *editor) revive() error {
	again := map[tag]bool{}
	for _, m := range ed.missing {
		again[m.elem] = true
	}
	done := map[string]bool{}
	for _, m := range ed.missing {
		if name := m.list.String(); !done[name] {
			done[name] = true
			if err := ed.reviveIn(m.list, again); err != nil {
				return err
			}
		}
	}
	return nil
}

func (ed *editor) reviveIn(list path, again map[tag]bool) error {
	s := ed.b.find(list)
	if s == nil || ed.dead(list) >= 0 {
		return nil
	}
	prev := int32(-1) // in the present
	for _, i := range s.l.shown() {
		n := s.l.nodes[i]
		present := ed.p.find(list)
		if present == nil {
			present = &slot{}
		}
		if k := present.l.element(n.elem, -1); k >= 0 && present.l.nodes[k].dead == live {
			prev = k
			continue
		}
		if !again[n.elem] {
			continue
		}
		r := renderer{resolve: ed.resolve}
		v, _ := r.slot(n.slot)
		o := op{code: opInsert, path: list, values: []any{v}, right: true, parentHint: -1}
		present.l.place(&o, prev, -1)
		a := applier{doc: ed.p, own: ed.p.own, dot: ed.hd.Dot, stamp: ed.hd.Stamp, n: ed.n}
		if err := a.do(&o); err != nil {
			return err
		}
		ed.n = a.n
		ed.ops = append(ed.ops, o)
		prev = int32(len(ed.p.find(list).l.nodes) - 1)
	}
	return nil
}

// place sets where a position that is to come behind node prev (-1: the start)
// goes. The element at skip is the one that moves there, if any.
func (l *list) place(o *op, prev, skip int32) {
	if l == nil {
		o.right = true
		return
	}
	parent, right := l.anchor(prev, l.after(prev, skip))
	o.right, o.parentHint, o.parent = right, parent, tag{}
	if parent >= 0 {
		o.parent = l.nodes[parent].id
	}
}

// show returns what the slot at pl shows.
func (ed *editor) show(pl place) shown {
	r := renderer{resolve: ed.resolve, at: pl.at}
	return r.pick(ed.b.find(pl.path))
}

// value renders what the slot at pl shows.
func (ed *editor) value(pl place) (any, bool) {
	r := renderer{resolve: ed.resolve, at: pl.at}
	return r.slot(ed.b.find(pl.path))
}

// put adds v beside what is at pl.
func (ed *editor) put(pl place, v any) error {
	if err := ed.checkDepth(pl, []any{v}, 0); err != nil {
		return err
	}
	if err := ed.do(op{code: opPut, path: pl.path, values: []any{v}}, nil); err != nil {
		return err
	}
	if s := ed.p.find(pl.path); s != nil && len(s.scalars) > 1 && ed.limits.Siblings > 0 && len(s.alts()) > ed.limits.Siblings {
		return fmt.Errorf("%w: %q would have %d concurrent values, at most %d are allowed; resolve it first",
			crdt.ErrTooManySiblings, pl.at.String(), len(s.alts()), ed.limits.Siblings)
	}
	return nil
}

// clear removes what is at pl.
func (ed *editor) clear(pl place) error {
	var g seen
	g.slot(ed.b.find(pl.path))
	return ed.remove(pl, g)
}

func (ed *editor) remove(pl place, g seen) error {
	if len(g.tags) == 0 && len(g.cells) == 0 {
		return nil
	}
	return ed.do(op{code: opRemove, path: pl.path, remove: g.removal()}, nil)
}

// replace puts v in the place of all that is at pl.
func (ed *editor) replace(pl place, v any) error {
	if err := ed.clear(pl); err != nil {
		return err
	}
	return ed.put(pl, v)
}

// keep makes a mark for a container that has lost its last part and would be
// gone otherwise: {"a": {"b": 1}} without b is {"a": {}}.
func (ed *editor) keep(pl place, k kind) error {
	s := ed.b.find(pl.path)
	if len(pl.path) == 0 {
		return nil
	}
	if s != nil {
		switch k {
		case kindMap:
			if s.m.alive() {
				return nil
			}
		case kindList:
			if s.l.alive() {
				return nil
			}
		case kindSet:
			if s.s.alive() {
				return nil
			}
		case kindCounter, kindScalar:
			return nil
		}
	}
	return ed.do(op{code: opPresence, path: pl.path, kind: k}, nil)
}

// checkDepth refuses values that would come to lie too deep, a number of steps
// below pl.
func (ed *editor) checkDepth(pl place, vs []any, below int) error {
	limit := ed.limits.Value.MaxDepth
	if limit <= 0 {
		limit = value.DefaultMaxDepth
	}
	limit = min(limit, maxDepth)
	for _, v := range vs {
		if len(pl.path)+below+value.Depth(v) > limit {
			return refused(&value.Error{Err: value.ErrTooDeep, Detail: fmt.Sprintf("at most %d levels are allowed", limit),
				Pointer: pl.at.String(), Offset: -1})
		}
	}
	return nil
}

// unset removes the entry k of the map at pl.
func (ed *editor) unset(pl place, k string) error {
	if err := ed.clear(pl.key(k)); err != nil {
		return err
	}
	return ed.keep(pl, kindMap)
}

// insert adds a run of values to the list at pl behind node prev of b (-1: the
// start), and returns the last one's node.
func (ed *editor) insert(pl place, prev int32, vs []any) (int32, error) {
	o := op{code: opInsert, path: pl.path, values: vs, parentHint: -1}
	forB := o
	ed.list(pl).place(&forB, prev, -1)
	if !ed.dual {
		o = forB
	} else {
		l, at := ed.present(pl, prev, tag{})
		l.place(&o, at, -1)
	}
	if err := ed.do(o, &forB); err != nil {
		return 0, err
	}
	return int32(len(ed.list(pl).nodes) - 1), nil
}

// list returns the list at pl in b, or nil.
func (ed *editor) list(pl place) *list {
	if s := ed.b.find(pl.path); s != nil {
		return s.l
	}
	return nil
}

// present finds in the present what corresponds to node prev of b: the list at
// pl, and in it the nearest neighbour from prev to the left that lives there,
// other than the element skip.
func (ed *editor) present(pl place, prev int32, skip tag) (l *list, at int32) {
	s := ed.p.find(pl.path)
	if s == nil || s.l == nil {
		return nil, -1
	}
	b := ed.list(pl)
	order := b.sorted()
	from := -1
	if prev >= 0 {
		from = b.rank(prev)
	}
	for k := from; k >= 0; k-- {
		n := b.nodes[order[k]]
		if n.dead != live || n.elem == skip {
			continue
		}
		if i := s.l.element(n.elem, order[k]); i >= 0 && s.l.nodes[i].dead == live {
			return s.l, i
		}
	}
	return s.l, -1
}

// move takes the element at node i of the list at pl to behind node prev, and
// returns its new node. An element that is dead in the present stays dead.
func (ed *editor) move(pl place, i, prev int32) (int32, error) {
	b := ed.list(pl)
	elem := b.nodes[i].elem
	o := op{code: opMove, path: pl.path, elem: elem, elemHint: i, parentHint: -1}
	forB := o
	b.place(&forB, prev, i)
	if !ed.dual {
		o = forB
	} else {
		l, at := ed.present(pl, prev, elem)
		k := l.element(elem, i)
		if k < 0 || l.nodes[k].dead != live {
			if err := ed.inBase(forB); err != nil {
				return 0, err
			}
			return int32(len(ed.list(pl).nodes) - 1), nil
		}
		l.place(&o, at, k)
	}
	if err := ed.do(o, &forB); err != nil {
		return 0, err
	}
	return int32(len(ed.list(pl).nodes) - 1), nil
}
