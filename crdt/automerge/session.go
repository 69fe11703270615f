package automerge

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/crdt/value"
)

// actor returns who makes the next change of this replica: the same as last
// time, as long as all that it made lives. Once something was taken away or put
// back, its numbers might be given out twice, so there is a new one.
func (s *State) actor(e crdt.Edit, hd crdt.Header, fresh bool) []byte {
	era := s.era
	if fresh {
		era = hd.Dot
	}
	return actorID("main", e, hd.Dot.Replica, era)
}

// onceActor returns an actor for one change, which does not see all that this
// replica's other actors made.
func onceActor(e crdt.Edit, hd crdt.Header) []byte {
	return actorID("once", e, hd.Dot.Replica, hd.Dot)
}

func actorID(kind string, e crdt.Edit, r crdt.ReplicaID, era crdt.Dot) []byte {
	b := append([]byte("meridian automerge actor "), kind...)
	b = appendDot(b, e.Collection)
	b = appendBytes(b, []byte(e.ID))
	b = append(b, r[:]...)
	b = appendDot(b, era)
	h := sha256.Sum256(b)
	return h[:16]
}

// A session is a transaction on one document. The slots that it reads mirror
// the document and follow its edits.
type session struct {
	h       *loaded
	doc     *lib.Doc
	reader  reader
	root    *node
	ops     int // made so far
	limits  value.Limits
	copied  int // bytes, by "copy"
	changes int
	before  int // operations of the document before
}

// A node is a map, list or text that is shown.
type node struct {
	object lib.Object
	kind   lib.Kind
	read   bool
	keys   map[string]*slot
	list   []*slot
	text   string
}

// A slot is a place.
type slot struct {
	scalar   any   // of a scalar
	node     *node // of an object
	computed bool  // scalar is a value of the policy's own
	conflict bool
}

// open starts a transaction of an actor on what c holds.
func open(c *content, actor []byte, resolve crdt.Resolve, l value.Limits) (*session, error) {
	h, err := c.open()
	if err != nil {
		return nil, fmt.Errorf("automerge: a state that was loaded before does not load: %w", err)
	}
	if err := h.doc.SetActor(actor); err != nil {
		h.free()
		return nil, err
	}
	return &session{
		h: h, doc: h.doc, reader: reader{doc: h.doc, content: c, resolve: resolve},
		root: &node{kind: lib.Map}, limits: l, changes: c.changes(), before: c.ops,
	}, nil
}

// abandon ends the transaction without a change.
func (x *session) abandon() {
	x.doc.Rollback()
	x.reader.content.give(x.h)
}

// commit ends the transaction and returns its change, nil if it did nothing.
// What it has left in the library's form is in the pool under its new name,
// where Apply finds it.
func (x *session) commit(stamp crdt.Stamp) (*validate.Change, error) {
	raw, err := x.doc.Commit(stamp.Time().Unix())
	if err != nil {
		x.h.free()
		return nil, err
	}
	if raw == nil {
		x.reader.content.give(x.h)
		return nil, nil
	}
	c, err := validate.ParseChange(raw, importLimits)
	if err != nil {
		x.h.free()
		return nil, refusal(err)
	}
	if x.h.index != nil {
		if err := x.h.index.AddTrusted(c); err != nil {
			x.h.free()
			return nil, err
		}
	}
	give(x.h, after(x.reader.content.heads, c), x.changes+1, x.before+len(c.Ops))
	return c, nil
}

// count accounts for operations.
func (x *session) count(n int) error {
	x.ops += n
	switch {
	case x.ops > MaxChangeOps:
		return fmt.Errorf("%w: the write would take more than %d operations (each character of a text is one)", crdt.ErrTooLarge, MaxChangeOps)
	case x.before+x.ops > MaxOps:
		return fmt.Errorf("%w: the document would have more than %d operations in its history (each character is one); write what it shows to a new document",
			crdt.ErrTooLarge, MaxOps)
	case x.changes >= MaxChanges:
		return fmt.Errorf("%w: the document has %d changes in its history, no more are allowed; write what it shows to a new document",
			crdt.ErrTooLarge, x.changes)
	}
	return nil
}

// load reads the slots of a node.
func (x *session) load(n *node, at value.Pointer) error {
	if n.read || n.kind == lib.Text {
		return nil
	}
	entries, err := x.doc.Children(n.object, n.kind, x.reader.content.branched)
	if err != nil {
		return err
	}
	n.read = true
	if n.kind == lib.Map {
		n.keys = make(map[string]*slot, len(entries))
	}
	for i := range entries {
		e := &entries[i]
		x.reader.at = slices.Clone(at)
		x.reader.enter(n.kind, e.Key, i)
		s, err := x.slot(e.Items)
		if err != nil {
			return err
		}
		if n.kind == lib.List {
			n.list = append(n.list, s)
		} else if s != nil {
			n.keys[e.Key] = s
		}
	}
	x.reader.conflicts = nil
	return nil
}

func (x *session) slot(items []lib.Item) (*slot, error) {
	if len(items) == 0 {
		return &slot{}, nil
	}
	p := picked{}
	if len(items) > 1 {
		var err error
		if p, err = x.reader.pick(items); err != nil {
			return nil, err
		}
	}
	if p.item < 0 {
		return &slot{scalar: p.value, computed: true, conflict: true}, nil
	}
	s := &slot{conflict: p.conflict}
	switch it := &items[p.item]; it.Kind {
	case lib.Map, lib.List, lib.Text:
		s.node = &node{object: it.Object, kind: it.Kind, text: it.Str}
	default:
		s.scalar = scalar(it)
	}
	return s, nil
}

// value renders what a slot shows.
func (x *session) value(s *slot, at value.Pointer) (any, error) {
	switch {
	case s.node == nil:
		return s.scalar, nil
	case s.node.kind == lib.Text:
		return value.Text(s.node.text), nil
	}
	return x.render(s.node, at)
}

func (x *session) render(n *node, at value.Pointer) (any, error) {
	if err := x.load(n, at); err != nil {
		return nil, err
	}
	if n.kind == lib.List {
		out := make([]any, len(n.list))
		for i, s := range n.list {
			var err error
			if out[i], err = x.value(s, child(at, strconv.Itoa(i))); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	out := make(map[string]any, len(n.keys))
	for k, s := range n.keys {
		v, err := x.value(s, child(at, k))
		if err != nil {
			return nil, err
		}
		if !value.Reserved(k) {
			out[k] = v
		}
	}
	return out, nil
}

// A place is a slot's position in a node.
type place struct {
	node   *node
	at     value.Pointer // of the slot
	key    string
	index  int
	insert bool
}

func (p place) lib() lib.Place {
	return lib.Place{Object: p.node.object, Key: p.key, InList: p.node.kind == lib.List, Index: p.index, Insert: p.insert}
}

func (p place) slot() *slot {
	if p.node.kind == lib.List {
		return p.node.list[p.index]
	}
	return p.node.keys[p.key]
}

// put sets what is at p, over everything that is there.
func (x *session) put(p place, v any) error {
	if d := len(p.at) + value.Depth(v); d > min(x.depth(), MaxDepth) {
		return fmt.Errorf("%w: %q would be nested deeper than %d", crdt.ErrTooLarge, p.at.String(), min(x.depth(), MaxDepth))
	}
	if p.node.kind == lib.Map && p.key == "" {
		return refuse("Automerge has no empty member names, at %q", p.at.String())
	}
	s, err := x.write(p.lib(), v)
	if err != nil {
		return err
	}
	switch {
	case p.node.kind == lib.Map:
		p.node.keys[p.key] = s
	case p.insert:
		p.node.list = slices.Insert(p.node.list, p.index, s)
	default:
		p.node.list[p.index] = s
	}
	return nil
}

func (x *session) depth() int {
	if x.limits.MaxDepth <= 0 {
		return value.DefaultMaxDepth
	}
	return x.limits.MaxDepth
}

// write makes v at a place of the library's document.
func (x *session) write(p lib.Place, v any) (*slot, error) {
	if err := x.count(1); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return &slot{}, x.doc.PutScalar(p, lib.Null, 0, 0)
	case bool:
		n := int64(0)
		if v {
			n = 1
		}
		return &slot{scalar: v}, x.doc.PutScalar(p, lib.Bool, n, 0)
	case int64:
		return &slot{scalar: v}, x.doc.PutScalar(p, lib.Int, v, 0)
	case float64:
		return &slot{scalar: v}, x.doc.PutScalar(p, lib.Float, 0, v)
	case value.Counter:
		return &slot{scalar: v}, x.doc.PutScalar(p, lib.Counter, int64(v), 0)
	case value.Text:
		return x.writeText(p, string(v))
	case string:
		return x.writeText(p, v)
	case value.Set:
		return nil, refuse("Automerge has no sets; $set needs a collection of type \"document\"")
	}
	return x.writeObject(p, v)
}

func (x *session) writeText(p lib.Place, text string) (*slot, error) {
	if err := x.count(utf8.RuneCountInString(text)); err != nil {
		return nil, err
	}
	o, err := x.doc.PutObject(p, lib.Text)
	if err == nil && text != "" {
		err = x.doc.Splice(o, 0, 0, text)
	}
	return &slot{node: &node{object: o, kind: lib.Text, read: true, text: text}}, err
}

func (x *session) writeObject(p lib.Place, v any) (*slot, error) {
	list, isList := v.([]any)
	m, _ := v.(map[string]any)
	n := &node{kind: lib.Map, read: true, keys: make(map[string]*slot, len(m))}
	if isList {
		n.kind, n.keys = lib.List, nil
	}
	var err error
	if n.object, err = x.doc.PutObject(p, n.kind); err != nil {
		return nil, err
	}
	for i, e := range list {
		s, err := x.write(lib.Place{Object: n.object, InList: true, Index: i, Insert: true}, e)
		if err != nil {
			return nil, err
		}
		n.list = append(n.list, s)
	}
	for _, k := range sortedKeys(m) {
		if k == "" {
			return nil, refuse("Automerge has no empty member names")
		}
		s, err := x.write(lib.Place{Object: n.object, Key: k}, m[k])
		if err != nil {
			return nil, err
		}
		n.keys[k] = s
	}
	return &slot{node: n}, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// remove takes out what is at p.
func (x *session) remove(p place) error {
	if err := x.count(1); err != nil {
		return err
	}
	if p.node.kind == lib.Map && p.key == "" {
		return refuse("Automerge cannot remove a member without a name, at %q", p.at.String())
	}
	if err := x.doc.Delete(p.lib()); err != nil {
		return err
	}
	if p.node.kind == lib.List {
		p.node.list = slices.Delete(p.node.list, p.index, p.index+1)
	} else {
		delete(p.node.keys, p.key)
	}
	return nil
}

// increment adds to the counter at p.
func (x *session) increment(p place, was value.Counter, by int64) error {
	if err := x.count(1); err != nil {
		return err
	}
	if err := x.doc.Increment(p.lib(), by); err != nil {
		return err
	}
	p.slot().scalar = was + value.Counter(by)
	return nil
}

// splice edits the text n. The caller has checked the range, in code points.
func (x *session) splice(n *node, index, del int, insert string) error {
	if err := x.count(del + utf8.RuneCountInString(insert)); err != nil {
		return err
	}
	if err := x.doc.Splice(n.object, index, del, insert); err != nil {
		return err
	}
	runes := []rune(n.text)
	n.text = string(runes[:index]) + insert + string(runes[index+del:])
	return nil
}

// child extends a pointer without touching what shares its memory.
func child(at value.Pointer, token string) value.Pointer { return append(slices.Clip(at), token) }
