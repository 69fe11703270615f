package document

import (
	"cmp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// typed reports whether v is or contains a typed value, which no set may hold.
func typed(v any) bool {
	switch v := v.(type) {
	case value.Counter, value.Set, value.Text:
		return true
	case []any:
		return slices.ContainsFunc(v, typed)
	case map[string]any:
		for _, m := range v {
			if typed(m) {
				return true
			}
		}
	}
	return false
}

// checkedKey returns a map's key, or fails r if it can be none.
func checkedKey(r *crdt.Reader, b []byte) string {
	if s := string(b); utf8.Valid(b) && !value.Reserved(s) {
		return s
	}
	r.Fail("bad member name")
	return ""
}

// An alt is one of the things that a slot can show.
type alt struct {
	kind   kind
	scalar int  // index into scalars
	mark   mark // the newest in it; only set if there are several
}

// counted reports whether increments count on top of the integers in s.
func (s *slot) counted() bool {
	return s.c.counts() && len(s.c.presence) == 0 &&
		slices.ContainsFunc(s.scalars, func(x scalar) bool { _, ok := x.v.(int64); return ok })
}

// alts returns what s can show, oldest first.
func (s *slot) alts() []alt {
	if s == nil {
		return nil
	}
	var out []alt
	for i := range s.scalars {
		out = append(out, alt{kind: kindScalar, scalar: i})
	}
	if s.m.alive() {
		out = append(out, alt{kind: kindMap})
	}
	if s.l.alive() {
		out = append(out, alt{kind: kindList})
	}
	if s.s.alive() {
		out = append(out, alt{kind: kindSet})
	}
	if s.c.alive() && !s.counted() {
		out = append(out, alt{kind: kindCounter})
	}
	if len(out) < 2 {
		return out
	}
	for i := range out {
		if out[i].kind == kindScalar {
			out[i].mark = s.scalars[out[i].scalar].mark
		} else {
			out[i].mark = s.newest(out[i].kind)
		}
	}
	slices.SortStableFunc(out, func(a, b alt) int { return cmp.Or(a.mark.compare(b.mark), cmp.Compare(a.kind, b.kind)) })
	return out
}

// agreed reports whether all alternatives are the same plain value: then those
// who wrote them do not disagree.
func (s *slot) agreed(alts []alt) bool {
	for _, a := range alts {
		if a.kind != kindScalar || !value.Equal(s.scalars[a.scalar].v, s.scalars[0].v) {
			return false
		}
	}
	return true
}

// scalarValue is what the i-th scalar shows, increments included.
func (s *slot) scalarValue(i int) any {
	v := s.scalars[i].v
	if n, ok := v.(int64); ok && s.counted() {
		return value.Counter(n + s.c.sum())
	}
	return v
}

// A renderer makes JSON of slots under a policy.
type renderer struct {
	resolve   crdt.Resolve
	at        value.Pointer // of what is rendered
	below     []token       // from there
	conflicts []crdt.Resolved
}

// A token is one of a JSON pointer. Only conflicts need it as a string.
type token struct {
	key     string
	index   int
	isIndex bool
}

func (r *renderer) pointer() string {
	p := slices.Clone(r.at)
	for _, t := range r.below {
		if t.isIndex {
			t.key = strconv.Itoa(t.index)
		}
		p = append(p, t.key)
	}
	return p.String()
}

// A shown is what a slot shows.
type shown struct {
	alt
	ok       bool // anything
	conflict bool
	computed bool // value is the policy's own; kind tells its kind only
	value    any  // set for scalars and counters, and in a conflict
}

// child renders what s shows, which is at t.
func (r *renderer) child(t token, s *slot) any {
	r.below = append(r.below, t)
	v, _ := r.slot(s)
	r.below = r.below[:len(r.below)-1]
	return v
}

// pick finds out what s shows. The conflicts in and below it are appended to
// r's, unless the value is not rendered.
func (r *renderer) pick(s *slot) shown {
	if s != nil && len(s.scalars) == 1 && s.m == nil && s.l == nil && s.s == nil && s.c == nil {
		return shown{ok: true, value: s.scalars[0].v} // as most are
	}
	alts := s.alts()
	switch {
	case len(alts) == 0:
		return shown{}
	case len(alts) == 1 || s.agreed(alts):
		sh := shown{alt: alts[len(alts)-1], ok: true}
		switch sh.kind {
		case kindScalar:
			sh.value = s.scalarValue(sh.scalar)
		case kindCounter:
			sh.value = value.Counter(s.c.sum())
		case kindMap, kindList, kindSet:
		}
		return sh
	}
	outer := r.conflicts
	c := crdt.Conflict{Path: r.pointer(), Versions: make([]crdt.Version, len(alts))}
	nested := make([][]crdt.Resolved, len(alts))
	for i, a := range alts {
		r.conflicts = nil
		c.Versions[i] = crdt.Version{Dot: a.mark.tag.dot, Stamp: a.mark.stamp, Value: r.render(s, a)}
		nested[i] = r.conflicts
	}
	out := r.outcome(c)
	r.conflicts = outer
	r.conflicts = append(r.conflicts, crdt.Resolved{Conflict: c, Outcome: out})
	if out.Shown < 0 {
		return shown{alt: alt{kind: kindOf(out.Value)}, ok: true, conflict: true, computed: true, value: out.Value}
	}
	r.conflicts = append(r.conflicts, nested[out.Shown]...)
	return shown{alt: alts[out.Shown], ok: true, conflict: true, value: c.Versions[out.Shown].Value}
}

// outcome asks the policy. Without one, or if it names a version that there is
// not, the newest is shown.
func (r *renderer) outcome(c crdt.Conflict) crdt.Outcome {
	newest := len(c.Versions) - 1
	if r.resolve == nil {
		return crdt.Outcome{Shown: newest, Reason: "the newest write is shown"}
	}
	out := r.resolve(c)
	if out.Shown > newest || out.Shown < -1 {
		return crdt.Outcome{Shown: newest, Reason: "the policy named a version that does not exist; the newest write is shown"}
	}
	return out
}

func kindOf(v any) kind {
	switch v.(type) {
	case map[string]any:
		return kindMap
	case []any:
		return kindList
	case value.Set:
		return kindSet
	case value.Counter:
		return kindCounter
	}
	return kindScalar
}

// slot renders what s shows.
func (r *renderer) slot(s *slot) (any, bool) {
	sh := r.pick(s)
	if !sh.ok || sh.conflict || sh.kind == kindScalar || sh.kind == kindCounter {
		return sh.value, sh.ok
	}
	return r.render(s, sh.alt), true
}

func (r *renderer) render(s *slot, a alt) any {
	switch a.kind {
	case kindMap:
		return r.mapValue(s.m)
	case kindList:
		return r.listValue(s.l)
	case kindSet:
		return s.s.value()
	case kindCounter:
		return value.Counter(s.c.sum())
	default:
		return s.scalarValue(a.scalar)
	}
}

func (r *renderer) mapValue(m *mapNode) map[string]any {
	keys := m.keys()
	out := make(map[string]any, len(keys))
	root := len(r.at) == 0 && len(r.below) == 0
	for _, k := range keys {
		if root && k == hidden {
			continue
		}
		out[k] = r.child(token{key: k}, m.children[k])
	}
	return out
}

func (r *renderer) listValue(l *list) []any {
	nodes := l.shown()
	out := make([]any, len(nodes))
	for k, i := range nodes {
		out[k] = r.child(token{index: k, isIndex: true}, l.nodes[i].slot)
	}
	return out
}

// View implements [crdt.State]. The policy is not asked about a deletion that
// is concurrent with an edit: which of the two wins is in the deletion. It is
// reported as a conflict of the whole document in which the edit is shown.
func (d *Doc) View(resolve crdt.Resolve) crdt.View {
	if !d.heads.Visible() {
		return crdt.View{}
	}
	r := renderer{resolve: d.heads.Marking(resolve)}
	v := r.mapValue(d.root.m)
	if c, ok := d.undeleted(v); ok {
		r.conflicts = slices.Insert(r.conflicts, 0, c)
	}
	d.heads.Mark(r.conflicts)
	return crdt.View{Exists: true, Value: v, Conflicts: r.conflicts}
}

func (d *Doc) undeleted(v any) (crdt.Resolved, bool) {
	versions := d.Versions()
	if !slices.ContainsFunc(versions, func(x crdt.Version) bool { return x.Deleted }) {
		return crdt.Resolved{}, false
	}
	out := crdt.Outcome{Reason: "an edit that is concurrent with the deletion brought the document back"}
	for i := range versions {
		if !versions[i].Deleted {
			versions[i].Value = v
			out.Shown = i
		}
	}
	return crdt.Resolved{Conflict: crdt.Conflict{Versions: versions}, Outcome: out}, true
}
