package value

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// ParseOps reads a patch of media type application/vnd.meridian.ops+json, an
// array of these operations:
//
//	{"op": "inc",    "path": P, "value": integer, "min": integer, "max": integer}
//	{"op": "add",    "path": P, "value": V}             to the set P
//	{"op": "remove", "path": P, "value": V}             from the set P
//	{"op": "insert", "path": P/index or P/-, "value": V} into the list P
//	{"op": "delete", "path": P/index}                   from the list P
//	{"op": "move",   "from": P/index, "path": P/index or P/-}  within the list P
//	{"op": "splice", "path": P, "index": n, "delete": n, "insert": string}
//	{"op": "set",    "path": P, "value": V}
//	{"op": "unset",  "path": P}
//
// The members min and max of inc, and delete and insert of splice, may be left
// out. "move" means, as in RFC 6902, that the element is taken out before the
// index in "path" is counted. The values of add and remove are plain. Members
// other than these are refused. Limits and errors are those of [ParseJSONPatch].
func ParseOps(b []byte, l Limits) ([]Op, error) {
	return parsePatch(b, l, func(m map[string]any) (Op, error) {
		f := fields{members: m}
		op := Op{Op: f.string("op")}
		op.Path = f.pointer("path", l)
		if f.err != nil {
			return op, f.err
		}
		switch op.Op {
		case "inc":
			parseInc(&f, &op)
		case "add", "remove":
			op.Value, op.HasValue = f.value("value"), true
			if hasTypes(op.Value) {
				f.fail(setOfTyped)
			}
		case "insert":
			op.Value, op.HasValue = f.value("value"), true
			f.element("path", op.Path, true)
		case "delete":
			f.element("path", op.Path, false)
		case "move":
			op.From = f.pointer("from", l)
			f.element("from", op.From, false)
			f.element("path", op.Path, true)
			if f.err == nil && !slices.Equal(parent(op.From), parent(op.Path)) {
				f.fail("an element moves within its list only")
			}
		case "splice":
			op.Index = f.size("index", true)
			op.Delete = f.size("delete", false)
			if _, ok := f.optional("insert"); ok {
				op.Insert = f.string("insert")
			}
		case "set":
			op.Value, op.HasValue = f.value("value"), true
		case "unset":
			if len(op.Path) == 0 {
				f.fail("the root cannot be unset")
			}
		default:
			f.fail("unknown operation")
		}
		f.refuseOthers()
		return op, f.err
	})
}

func parseInc(f *fields, op *Op) {
	op.Value, op.HasValue = f.value("value"), true
	if _, ok := op.Value.(int64); !ok {
		f.fail(fmt.Sprintf("\"value\" must be an integer, not %s", kindName(op.Value)))
	}
	op.Min, op.Max = f.bound("min"), f.bound("max")
	if op.Min != nil && op.Max != nil && *op.Min > *op.Max {
		f.fail("\"min\" is above \"max\"")
	}
}

func parent(p Pointer) Pointer { return p[:len(p)-1] }

// element checks that the last token of p names an element of a list.
func (f *fields) element(name string, p Pointer, orEnd bool) {
	if len(p) > 0 {
		last := p[len(p)-1]
		if _, ok := ParseIndex(last); ok || orEnd && last == EndOfList {
			return
		}
	}
	detail := fmt.Sprintf("%q must end in the index of an element", name)
	if orEnd {
		detail += " or in \"-\""
	}
	f.fail(detail)
}

// bound returns an optional integer.
func (f *fields) bound(name string) *int64 {
	v, ok := f.optional(name)
	if !ok {
		return nil
	}
	i, ok := v.(int64)
	if !ok {
		f.fail(fmt.Sprintf("%q must be an integer, not %s", name, kindName(v)))
	}
	return &i
}

// size returns a number of characters.
func (f *fields) size(name string, required bool) int {
	v, ok := f.optional(name)
	if !ok && !required {
		return 0
	}
	i, ok := v.(int64)
	if !ok || i < 0 || i > math.MaxInt32 {
		f.fail(fmt.Sprintf("%q must be an integer from 0 to %d", name, math.MaxInt32))
		return 0
	}
	return int(i)
}

// refuseOthers fails for members that nothing has asked for.
func (f *fields) refuseOthers() {
	if f.err != nil {
		return
	}
	var unknown []string
	for name := range f.members {
		if !slices.Contains(f.known, name) {
			unknown = append(unknown, fmt.Sprintf("%q", clip(name)))
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		f.fail("it has no member " + clip(strings.Join(unknown, ", ")))
	}
}
