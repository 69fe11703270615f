package value

import (
	"fmt"
	"slices"
)

// MaxOps is how many operations one patch may have.
const MaxOps = 10_000

// Op is one operation of a JSON patch or of a patch in Meridian's own format.
// Which fields count depends on Op; the others are zero.
type Op struct {
	Op       string // name, as in the patch
	Path     Pointer
	From     Pointer // of "move" and "copy"
	Value    any
	HasValue bool   // tells a Value of null from none
	Index    int    // of "splice": where in the text
	Delete   int    // of "splice": how much is taken out there
	Insert   string // of "splice": what is put there
	Min, Max *int64 // of "inc": bounds of the counter, nil for none
}

// ParseJSONPatch reads a JSON patch (RFC 6902, application/json-patch+json):
// add, remove, replace, move, copy and test. Members that the RFC does not
// define are ignored, as it asks. l bounds the whole patch, and the depth of
// each value and path in it. Besides what [Parse] returns, the error wraps
// [ErrPatch], [ErrPointer], [ErrReserved] (no path leads through a reserved
// name) or [ErrTooDeep], and names the operation, counted from 0.
func ParseJSONPatch(b []byte, l Limits) ([]Op, error) {
	return parsePatch(b, l, func(m map[string]any) (Op, error) {
		f := fields{members: m}
		op := Op{Op: f.string("op")}
		if f.err != nil {
			return op, f.err
		}
		switch op.Op {
		case "add", "replace", "test":
			op.Path = f.pointer("path", l)
			op.Value, op.HasValue = f.value("value"), true
		case "remove":
			op.Path = f.pointer("path", l)
		case "move", "copy":
			op.From = f.pointer("from", l)
			op.Path = f.pointer("path", l)
			if op.Op == "move" && len(op.From) < len(op.Path) && slices.Equal(op.From, op.Path[:len(op.From)]) {
				f.fail("a value cannot be moved into itself")
			}
		default:
			f.fail("unknown operation")
		}
		return op, f.err
	})
}

// parsePatch reads an array of objects, each by parse.
func parsePatch(b []byte, l Limits, parse func(map[string]any) (Op, error)) ([]Op, error) {
	l = l.orDefault()
	l.MaxDepth += 2 // a value lies within an operation within the array
	v, err := Parse(b, l)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%w: it must be an array of operations, not %s", ErrPatch, kindName(v))
	}
	if len(list) > MaxOps {
		return nil, fmt.Errorf("%w: %d operations, at most %d are allowed", ErrTooLarge, len(list), MaxOps)
	}
	ops := make([]Op, len(list))
	for i, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("operation %d: %w: it must be an object, not %s", i, ErrPatch, kindName(e))
		}
		if ops[i], err = parse(m); err != nil {
			return nil, fmt.Errorf("operation %d%s: %w", i, quotedName(ops[i].Op), err)
		}
	}
	return ops, nil
}

func quotedName(op string) string {
	if op == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", clip(op))
}

// fields reads the members of one operation, and remembers the first error.
type fields struct {
	members map[string]any
	known   []string
	err     error
}

func (f *fields) fail(detail string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s", ErrPatch, detail)
	}
}

// optional returns a member, if there is one.
func (f *fields) optional(name string) (any, bool) {
	f.known = append(f.known, name)
	v, ok := f.members[name]
	return v, ok
}

func (f *fields) value(name string) any {
	v, ok := f.optional(name)
	if !ok {
		f.fail(fmt.Sprintf("%q is missing", name))
	}
	return v
}

func (f *fields) string(name string) string {
	v := f.value(name)
	s, ok := v.(string)
	if !ok {
		f.fail(fmt.Sprintf("%q must be a string, not %s", name, kindName(v)))
	}
	return s
}

// pointer returns a member that is a pointer to a place that a document within
// l can have.
func (f *fields) pointer(name string, l Limits) Pointer {
	s := f.string(name)
	if f.err != nil {
		return nil
	}
	p, err := ParsePointer(s)
	if err != nil {
		f.err = fmt.Errorf("%q: %w", name, err)
		return nil
	}
	if l = l.orDefault(); len(p) > l.MaxDepth {
		f.err = fmt.Errorf("%q: %w: %s", name, ErrTooDeep, tooDeep(l))
	} else if i := slices.IndexFunc(p, Reserved); i >= 0 {
		f.err = fmt.Errorf("%q: %w: %q is no member name", name, ErrReserved, p[i])
	}
	return p
}

// MaxPatchCopy is how many bytes of JSON the copy operations of one patch may
// add up to. Without it, a short patch could double a document many times.
const MaxPatchCopy = 1 << 20

// ApplyJSONPatch returns target with the operations of a JSON patch applied in
// order, or an error, if one of them fails: [ErrPatchPath], [ErrPatchTest], or
// [ErrTooLarge] for too much copying. It changes neither target nor ops, and
// the result shares nothing changeable with them. "test" compares by [Same].
// Typed values are replaced whole and have no places within. The result can
// exceed limits that target and ops keep: [Check] it.
func ApplyJSONPatch(target any, ops []Op) (any, error) {
	p := patcher{root: Clone(target)}
	for i, op := range ops {
		if err := p.apply(op); err != nil {
			return nil, fmt.Errorf("operation %d (%q): %w", i, op.Op, err)
		}
	}
	return p.root, nil
}

// patcher changes a tree that it owns in place.
type patcher struct {
	root   any
	copied int
}

func (p *patcher) apply(op Op) error {
	switch op.Op {
	case "add":
		return p.add(op.Path, Clone(op.Value))
	case "remove":
		_, err := p.remove(op.Path)
		return err
	case "replace":
		return p.edit(op.Path, func(any) (any, error) { return Clone(op.Value), nil })
	case "move":
		if slices.Equal(op.From, op.Path) {
			_, err := p.find(op.From)
			return err
		}
		v, err := p.remove(op.From)
		if err != nil {
			return err
		}
		return p.add(op.Path, v)
	case "copy":
		v, err := p.find(op.From)
		if err != nil {
			return err
		}
		if p.copied += Size(v); p.copied > MaxPatchCopy {
			return fmt.Errorf("%w: a patch may copy at most %d bytes", ErrTooLarge, MaxPatchCopy)
		}
		return p.add(op.Path, Clone(v))
	case "test":
		v, err := p.find(op.Path)
		if err != nil {
			return err
		}
		if !Same(v, op.Value) {
			return fmt.Errorf("%w: %q has another value", ErrPatchTest, clip(op.Path.String()))
		}
		return nil
	default:
		return fmt.Errorf("%w: unknown operation", ErrPatch)
	}
}

func (p *patcher) find(path Pointer) (any, error) {
	v, ok := Find(p.root, path)
	if !ok {
		return nil, noPlace(path)
	}
	return v, nil
}

func noPlace(path Pointer) error {
	return fmt.Errorf("%w: %q", ErrPatchPath, clip(path.String()))
}

// edit replaces the value at path, which must exist, by f of it.
func (p *patcher) edit(path Pointer, f func(any) (any, error)) error {
	if len(path) == 0 {
		v, err := f(p.root)
		if err == nil {
			p.root = v
		}
		return err
	}
	parent, _ := Find(p.root, path[:len(path)-1])
	last := path[len(path)-1]
	old, ok := child(parent, last)
	if !ok {
		return noPlace(path)
	}
	v, err := f(old)
	if err != nil {
		return err
	}
	switch parent := parent.(type) {
	case map[string]any:
		parent[last] = v
	case []any:
		i, _ := ParseIndex(last)
		parent[i] = v
	}
	return nil
}

// editParent edits the container that path's last token is or will be in.
func (p *patcher) editParent(path Pointer, object func(m map[string]any, name string) error,
	array func(a []any, token string) ([]any, error)) error {
	last := path[len(path)-1]
	return p.edit(path[:len(path)-1], func(parent any) (any, error) {
		switch parent := parent.(type) {
		case map[string]any:
			return parent, object(parent, last)
		case []any:
			return array(parent, last)
		default:
			return nil, noPlace(path)
		}
	})
}

func (p *patcher) add(path Pointer, v any) error {
	if len(path) == 0 {
		p.root = v
		return nil
	}
	return p.editParent(path,
		func(m map[string]any, name string) error {
			m[name] = v
			return nil
		},
		func(a []any, token string) ([]any, error) {
			i, ok := ParseIndex(token)
			if token == EndOfList {
				i, ok = len(a), true
			}
			if !ok || i > len(a) {
				return nil, noPlace(path)
			}
			return slices.Insert(a, i, v), nil
		})
}

func (p *patcher) remove(path Pointer) (removed any, err error) {
	if len(path) == 0 {
		return nil, fmt.Errorf("%w: the root cannot be removed", ErrPatchPath)
	}
	if removed, err = p.find(path); err != nil {
		return nil, err
	}
	err = p.editParent(path,
		func(m map[string]any, name string) error {
			delete(m, name)
			return nil
		},
		func(a []any, token string) ([]any, error) {
			i, _ := ParseIndex(token)
			return slices.Delete(a, i, i+1), nil
		})
	return removed, err
}
