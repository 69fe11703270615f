package sandbox

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf16"

	"github.com/dop251/goja"

	"github.com/meridiandb/meridian/crdt/value"
)

// toJS shows a value to a script. Containers become views, made as they are
// looked at; typed values are shown as plain ones.
func (z *realm) toJS(v any) goja.Value {
	switch v := v.(type) {
	case nil:
		return goja.Null()
	case bool:
		return z.rt.ToValue(v)
	case int64:
		return z.integer(v)
	case value.Counter:
		return z.integer(int64(v))
	case float64:
		return z.rt.ToValue(v)
	case string:
		return z.textValue(v)
	case value.Text:
		return z.textValue(string(v))
	case []any:
		return z.list(v)
	case value.Set:
		return z.rt.NewDynamicArray(&listView{z: z, list: v, original: v})
	case map[string]any:
		return z.object(v)
	}
	panic(z.rt.NewTypeError("a value that a script cannot see"))
}

func (z *realm) integer(n int64) goja.Value {
	if n > MaxInteger || n < -MaxInteger {
		return z.rt.ToValue(big.NewInt(n))
	}
	return z.rt.ToValue(n)
}

func (z *realm) textValue(s string) goja.Value {
	z.made(len(s))
	return z.rt.ToValue(s)
}

func (z *realm) object(m map[string]any) goja.Value {
	return z.rt.NewDynamicObject(&objectView{z: z, members: m})
}

func (z *realm) list(l []any) goja.Value {
	return z.rt.NewDynamicArray(&listView{z: z, list: l, original: l})
}

// An objectView shows an object. It cannot be changed.
type objectView struct {
	z       *realm
	members map[string]any
	seen    map[string]goja.Value
	names   []string
}

func (o *objectView) Get(name string) goja.Value {
	if v, ok := o.seen[name]; ok {
		return v
	}
	m, ok := o.members[name]
	if !ok {
		return nil
	}
	v := o.z.toJS(m)
	if o.seen == nil {
		o.seen = map[string]goja.Value{}
	}
	o.seen[name] = v
	return v
}

func (o *objectView) Has(name string) bool { _, ok := o.members[name]; return ok }

func (o *objectView) Keys() []string {
	if o.names == nil {
		o.names = slices.Sorted(maps.Keys(o.members))
	}
	return o.names
}

func (o *objectView) Set(name string, _ goja.Value) bool { panic(o.z.readOnly(strconv.Quote(name))) }
func (o *objectView) Delete(name string) bool            { panic(o.z.readOnly(strconv.Quote(name))) }

func (z *realm) readOnly(what string) *goja.Object {
	return z.rt.NewTypeError("cannot change %s: the versions are read-only; copy an object with {...o}, a list with [...l]", what)
}

// A listView shows a list, or the members of a set.
type listView struct {
	z        *realm
	list     []any
	original any
	seen     []goja.Value
}

func (l *listView) Len() int { return len(l.list) }

func (l *listView) Get(i int) goja.Value {
	if i < 0 || i >= len(l.list) {
		return nil
	}
	if l.seen == nil {
		l.z.pay(len(l.list) / bytesPerStep)
		l.seen = make([]goja.Value, len(l.list))
	}
	if l.seen[i] == nil {
		l.seen[i] = l.z.toJS(l.list[i])
	}
	return l.seen[i]
}

func (l *listView) Set(i int, _ goja.Value) bool { panic(l.z.readOnly("element " + strconv.Itoa(i))) }
func (l *listView) SetLen(int) bool              { panic(l.z.readOnly("the length")) }

// result reads what a script returned.
func (z *realm) result(v goja.Value, versions []map[string]any, all goja.Value) (r Result, err error) {
	r.Version = -1
	if v == nil || goja.IsUndefined(v) {
		return r, fmt.Errorf("%w: it returned nothing", ErrResult)
	}
	if o, ok := v.(*goja.Object); ok {
		list := all.(*goja.Object).Export().(*listView)
		for i := range versions {
			// Only what was looked at can have been returned.
			if list.seen == nil || list.seen[i] == nil {
				continue
			}
			version := list.seen[i].(*goja.Object).Export().(*objectView)
			if o == list.seen[i] || o == version.seen[valueMember] {
				return Result{Version: i}, nil
			}
		}
	}
	c := converter{z: z}
	if r.Value, err = c.value(v, 0); err != nil {
		return r, err
	}
	limits := value.Limits{MaxBytes: MaxResult, MaxDepth: MaxDepth, MaxItems: MaxResultItems}
	if err := value.Check(r.Value, limits); err != nil {
		return r, fmt.Errorf("%w: %w", ErrResult, err)
	}
	return r, nil
}

// viewOf returns the view that an object is, nil if it is none. Nothing else is
// exported by the engine, which would go through all of it.
func viewOf(o *goja.Object) any {
	switch o.ExportType() {
	case typeOfObjectView, typeOfListView:
		return o.Export()
	}
	return nil
}

// A converter makes values of what a script has made.
type converter struct {
	z     *realm
	items int
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrResult, fmt.Sprintf(format, args...))
}

var (
	typeOfBigInt = reflect.TypeFor[*big.Int]()
	typeOfFloat  = reflect.TypeFor[float64]()
	typeOfInt    = reflect.TypeFor[int64]()
	typeOfBool   = reflect.TypeFor[bool]()

	typeOfObject     = reflect.TypeFor[map[string]any]()
	typeOfObjectView = reflect.TypeFor[*objectView]()
	typeOfListView   = reflect.TypeFor[*listView]()
)

func (c *converter) value(v goja.Value, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, bad("it is nested more than %d deep, or within itself", MaxDepth)
	}
	switch {
	case goja.IsNull(v), goja.IsUndefined(v):
		return nil, nil
	}
	switch v := v.(type) {
	case goja.String:
		return c.text(v)
	case *goja.Object:
		return c.object(v, depth+1)
	}
	switch v.ExportType() {
	case typeOfBool:
		return v.ToBoolean(), nil
	case typeOfInt, typeOfFloat:
		return c.number(v)
	case typeOfBigInt:
		n := v.Export().(*big.Int)
		if !n.IsInt64() {
			return nil, bad("%s is beyond the greatest integer, 2^63-1", clip(n.String()))
		}
		return n.Int64(), nil
	}
	return nil, bad("it is no JSON")
}

func (c *converter) number(v goja.Value) (any, error) {
	f := v.ToFloat()
	switch {
	case math.IsNaN(f), math.IsInf(f, 0):
		return nil, bad("%v is no JSON number", f)
	case f == 0 && math.Signbit(f):
		return f, nil
	case f != math.Trunc(f), math.Abs(f) >= 1<<63:
		return f, nil
	case math.Abs(f) > MaxInteger:
		return nil, bad("%v is a whole number beyond 2^53-1, and may have been rounded; use BigInt", f)
	}
	return int64(f), nil
}

// text refuses halves of characters, which no JSON in UTF-8 can hold.
func (c *converter) text(s goja.String) (any, error) {
	if err := c.z.afford(s.Length()); err != nil {
		return nil, err
	}
	out := s.String()
	if len(out) == s.Length() {
		return out, nil // ASCII
	}
	for i := 0; i < s.Length(); i++ {
		r := rune(s.CharAt(i))
		if !utf16.IsSurrogate(r) {
			continue
		}
		if i+1 == s.Length() || utf16.DecodeRune(r, rune(s.CharAt(i+1))) == '\uFFFD' {
			return nil, bad("a text has half a character in it")
		}
		i++
	}
	return out, nil
}

func (c *converter) object(o *goja.Object, depth int) (any, error) {
	switch view := viewOf(o).(type) {
	case *objectView:
		return view.members, nil
	case *listView:
		return view.original, nil
	}
	switch class := o.ClassName(); {
	case class == "Array":
		return c.array(o, depth)
	case class == "Object" && o.ExportType() == typeOfObject: // a Map or Set is of that class too
		names := o.Keys()
		if err := c.count(len(names)); err != nil {
			return nil, err
		}
		out := make(map[string]any, len(names))
		for _, name := range names {
			v := o.Get(name)
			if v == nil || goja.IsUndefined(v) {
				continue
			}
			member, err := c.value(v, depth)
			if err != nil {
				return nil, err
			}
			text, err := c.text(c.z.rt.ToValue(name).(goja.String))
			if err != nil {
				return nil, err
			}
			out[text.(string)] = member
		}
		return out, nil
	default:
		return nil, bad("a function, Map, Set or Error is no JSON")
	}
}

func (c *converter) array(o *goja.Object, depth int) (any, error) {
	n := int(o.Get("length").ToInteger())
	if err := c.count(n); err != nil {
		return nil, err
	}
	out := make([]any, n)
	for i := range out {
		v := o.Get(strconv.Itoa(i))
		if v == nil {
			continue
		}
		var err error
		if out[i], err = c.value(v, depth); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *converter) count(n int) error {
	if c.items += n; c.items > MaxResultItems {
		return bad("it has more than %d elements and members", MaxResultItems)
	}
	return nil
}
