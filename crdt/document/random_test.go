package document

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// A generator draws edits that meet each other: few names, short lists.
type generator struct {
	// deletes also deletes documents and bases edits on older versions.
	deletes bool
	bases   bool
	// lists edits one list and nothing else.
	lists bool
}

var start0 = time.UnixMilli(1_700_000_000_000)

var names = []string{"a", "b", "l"}

func draw[T any](t *rapid.T, of []T, label string) T { return rapid.SampledFrom(of).Draw(t, label) }

func (g generator) plain(t *rapid.T, depth int) any {
	switch rapid.IntRange(0, 9).Draw(t, "plain") {
	case 0:
		return nil
	case 1:
		return draw(t, []any{true, 0.5, "x", "y", ""}, "scalar")
	case 2, 3:
		return "s" + strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "string"))
	case 4, 5, 6:
		if depth > 0 {
			return g.list(t, depth-1)
		}
	case 7, 8:
		if depth > 0 {
			return g.object(t, depth-1)
		}
	}
	return int64(rapid.IntRange(0, 4).Draw(t, "int"))
}

func (g generator) list(t *rapid.T, depth int) []any {
	out := []any{}
	for range rapid.IntRange(0, 3).Draw(t, "length") {
		if v := g.plain(t, depth); rapid.IntRange(0, 2).Draw(t, "with id") > 0 {
			out = append(out, v)
		} else {
			out = append(out, map[string]any{"id": int64(rapid.IntRange(0, 3).Draw(t, "id")), "v": v})
		}
	}
	return out
}

func (g generator) object(t *rapid.T, depth int) map[string]any {
	out := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		out[draw(t, names, "name")] = g.value(t, depth)
	}
	return out
}

// value may be typed.
func (g generator) value(t *rapid.T, depth int) any {
	switch rapid.IntRange(0, 9).Draw(t, "typed") {
	case 0, 1:
		return value.Counter(rapid.IntRange(-1, 5).Draw(t, "count"))
	case 2:
		var ms []any
		for range rapid.IntRange(0, 3).Draw(t, "set") {
			ms = append(ms, "m"+strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "member")))
		}
		return value.NewSet(ms)
	case 3:
		return value.Text("t" + strconv.Itoa(rapid.IntRange(0, 1).Draw(t, "text")))
	}
	return g.plain(t, depth)
}

// mutate changes a value a little, as a client does between GET and PUT.
func (g generator) mutate(t *rapid.T, v any, depth int) any {
	if rapid.IntRange(0, 5).Draw(t, "other") == 0 {
		return g.value(t, depth)
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range sortedKeys(v) {
			switch rapid.IntRange(0, 5).Draw(t, "member") {
			case 0:
			case 1, 2:
				out[k] = g.mutate(t, v[k], depth-1)
			default:
				out[k] = v[k]
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "more") == 0 {
			out[draw(t, names, "name")] = g.value(t, max(depth-1, 0))
		}
		return out
	case []any:
		out := slices.Clone(v)
		for range rapid.IntRange(0, 3).Draw(t, "list edits") {
			n := len(out)
			i := rapid.IntRange(0, n).Draw(t, "index")
			switch do := rapid.IntRange(0, 3).Draw(t, "list edit"); {
			case do == 0 || n == 0:
				out = slices.Insert(out, i, g.list(t, max(depth-1, 0))...)
			case do == 1:
				out = slices.Delete(out, i%n, i%n+1)
			case do == 2:
				x := out[i%n]
				out = slices.Delete(out, i%n, i%n+1)
				out = slices.Insert(out, rapid.IntRange(0, n-1).Draw(t, "to"), x)
			default:
				out[i%n] = g.mutate(t, out[i%n], depth-1)
			}
		}
		return out
	case int64:
		return v + int64(rapid.IntRange(-2, 2).Draw(t, "delta"))
	case value.Counter:
		if rapid.Bool().Draw(t, "reset") {
			return value.Counter(0)
		}
		return int64(v) + int64(rapid.IntRange(-2, 2).Draw(t, "delta"))
	}
	return g.value(t, depth)
}

// pointer draws a place in v, or near one.
func (g generator) pointer(t *rapid.T, v any) value.Pointer {
	p := value.Pointer{}
	for range 4 {
		switch x := v.(type) {
		case map[string]any:
			k := draw(t, names, "name")
			p, v = append(p, k), x[k]
		case []any:
			i := rapid.IntRange(0, len(x)).Draw(t, "index")
			p = append(p, strconv.Itoa(i))
			if i == len(x) {
				return p
			}
			v = x[i]
		default:
			return p
		}
		if rapid.IntRange(0, 2).Draw(t, "stop") == 0 {
			return p
		}
	}
	return p
}

func (g generator) jsonOp(t *rapid.T, v any) value.Op {
	o := value.Op{Op: draw(t, []string{"add", "remove", "replace", "move", "copy"}, "op"), Path: g.pointer(t, v)}
	switch o.Op {
	case "move", "copy":
		o.From = g.pointer(t, v)
		if rapid.Bool().Draw(t, "same list") && len(o.From) > 0 {
			o.Path = append(slices.Clone(o.From[:len(o.From)-1]), strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "to")))
		}
		if len(o.From) <= len(o.Path) && slices.Equal(o.From, o.Path[:len(o.From)]) {
			o.Op = "copy"
		}
	case "add", "replace":
		o.Value, o.HasValue = g.value(t, 2), true
	}
	return o
}

func (g generator) ownOp(t *rapid.T, v any) value.Op {
	o := value.Op{Op: draw(t, []string{"inc", "inc", "add", "remove", "insert", "delete", "move", "set", "unset"}, "op"), Path: g.pointer(t, v)}
	last := func(label string) string { return strconv.Itoa(rapid.IntRange(0, 3).Draw(t, label)) }
	switch o.Op {
	case "inc":
		o.Value = int64(rapid.IntRange(-2, 3).Draw(t, "delta"))
	case "add", "remove":
		o.Value = "m" + last("member")
	case "insert":
		o.Path, o.Value = append(o.Path, last("at")), g.value(t, 1)
	case "delete":
		o.Path = append(o.Path, last("at"))
	case "move":
		o.From, o.Path = append(slices.Clone(o.Path), last("from")), append(slices.Clone(o.Path), last("to"))
	case "set":
		o.Value = g.value(t, 2)
	}
	return o
}

// edit draws an edit of a document of which older states are known.
func (g generator) edit(t *rapid.T, d *Doc, past []*Doc) crdt.Edit {
	e := crdt.Edit{Kind: crdt.EditPut}
	seen := d
	if g.bases && len(past) > 0 && rapid.IntRange(0, 3).Draw(t, "older") == 0 {
		seen = draw(t, past, "base")
		e.Base = seen
	}
	v := seen.View(nil).Value
	if v == nil {
		v = map[string]any{}
	}
	if g.lists {
		return g.listEdit(t, e, v.(map[string]any))
	}
	switch do := rapid.IntRange(0, 11).Draw(t, "kind"); {
	case do < 4:
		var ok bool
		if e.Value, ok = g.mutate(t, v, 3).(map[string]any); !ok {
			e.Value = g.object(t, 3)
		}
		if e.Base != nil && rapid.Bool().Draw(t, "by value") {
			e.Base, e.BaseValue, e.HasBaseValue = nil, value.Plain(v), true
		}
	case do < 6:
		e.Kind, e.Value = crdt.EditMergePatch, g.object(t, 2)
	case do < 8:
		e.Kind = crdt.EditJSONPatch
		for range rapid.IntRange(1, 3).Draw(t, "ops") {
			e.Ops = append(e.Ops, g.jsonOp(t, v))
		}
	case do < 10:
		e.Kind = crdt.EditOps
		for range rapid.IntRange(1, 3).Draw(t, "ops") {
			e.Ops = append(e.Ops, g.ownOp(t, v))
		}
	case do == 10:
		e = g.resolution(t, d)
	default:
		if g.deletes {
			e = crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteMode(rapid.IntRange(1, 2).Draw(t, "mode"))}
		} else {
			e.Value = g.object(t, 3)
		}
	}
	return e
}

// listEdit edits the list at /l, whose elements are objects or numbers.
func (g generator) listEdit(t *rapid.T, e crdt.Edit, v map[string]any) crdt.Edit {
	list, _ := v["l"].([]any)
	n := len(list)
	at := func(label string, n int) string { return strconv.Itoa(rapid.IntRange(0, n).Draw(t, label)) }
	if rapid.IntRange(0, 3).Draw(t, "put") == 0 {
		e.Value = map[string]any{"l": g.mutate(t, append([]any{}, list...), 2)}
		return e
	}
	e.Kind = crdt.EditOps
	for range rapid.IntRange(1, 3).Draw(t, "ops") {
		switch do := rapid.IntRange(0, 7).Draw(t, "do"); {
		case do < 3 || n == 0:
			x := any(int64(rapid.IntRange(0, 99).Draw(t, "int")))
			if rapid.IntRange(0, 3).Draw(t, "object") == 0 {
				x = map[string]any{"x": x}
			}
			e.Ops = append(e.Ops, value.Op{Op: "insert", Path: value.Pointer{"l", at("at", n)}, Value: x})
			n++
		case do < 5:
			e.Ops = append(e.Ops, value.Op{Op: "delete", Path: value.Pointer{"l", at("at", n-1)}})
			n--
		case do < 7:
			e.Ops = append(e.Ops, value.Op{Op: "move", From: value.Pointer{"l", at("from", n-1)}, Path: value.Pointer{"l", at("to", n-1)}})
		default:
			e.Ops = append(e.Ops, value.Op{Op: "set", Path: value.Pointer{"l", at("at", n-1)}, Value: int64(rapid.IntRange(0, 99).Draw(t, "int"))})
		}
	}
	return e
}

func (g generator) resolution(t *rapid.T, d *Doc) crdt.Edit {
	v := d.View(nil)
	e := crdt.Edit{Kind: crdt.EditResolve, Value: v.Value}
	if len(v.Conflicts) == 0 {
		return e
	}
	c := draw(t, v.Conflicts, "conflict")
	e.Path, _ = value.ParsePointer(c.Path)
	for _, x := range c.Versions {
		if rapid.Bool().Draw(t, "cover") {
			e.Covers = append(e.Covers, x.Dot)
		}
	}
	if c.Path != "" {
		e.Value = g.value(t, 2)
	}
	return e
}

// expected reports whether err is one that an edit may well have.
func expected(err error) bool {
	return errors.Is(err, crdt.ErrConflict) || errors.Is(err, crdt.ErrNotFound) || errors.Is(err, crdt.ErrRefused)
}

func explain(e crdt.Edit) string {
	return fmt.Sprintf("kind %d value %v ops %+v path %v covers %v base %v basevalue %v", e.Kind, e.Value, e.Ops, e.Path, e.Covers, e.Base != nil, e.BaseValue)
}
