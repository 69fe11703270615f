package journal

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/meridiandb/meridian/crdt/value"
)

// A DiffOp is an operation of a JSON Patch (RFC 6902).
type DiffOp struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

// MaxDiffOps is how many operations a diff has at most; beyond that it replaces
// the whole.
const MaxDiffOps = 1000

// A Place is what is in a document at some path, if anything.
type Place struct {
	There bool
	Value any
}

// Diff returns what turns one into the other, at a path of a document. Both are
// taken as plain JSON.
func Diff(path string, from, to Place) []DiffOp {
	ops := []DiffOp{}
	switch {
	case !from.There && !to.There:
		return ops
	case !from.There:
		return append(ops, DiffOp{"add", path, plain(to.Value)})
	case !to.There:
		return append(ops, DiffOp{Op: "remove", Path: path})
	}
	d := differ{ops: ops}
	if d.diff(path, value.Plain(from.Value), value.Plain(to.Value)); len(d.ops) > MaxDiffOps {
		return []DiffOp{{"replace", path, plain(to.Value)}}
	}
	return d.ops
}

func plain(v any) json.RawMessage { return value.Append(nil, v, value.Options{}) }

type differ struct{ ops []DiffOp }

func (d *differ) diff(path string, a, b any) {
	if len(d.ops) > MaxDiffOps || value.Equal(a, b) {
		return
	}
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			d.objects(path, x, y)
			return
		}
	case []any:
		// Lists of one length have mostly changed within their elements.
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				d.diff(path+"/"+strconv.Itoa(i), x[i], y[i])
			}
			return
		}
	}
	d.ops = append(d.ops, DiffOp{"replace", path, plain(b)})
}

func (d *differ) objects(path string, a, b map[string]any) {
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := path + value.Pointer{name}.String()
		x, inA := a[name]
		y, inB := b[name]
		switch {
		case !inA:
			d.ops = append(d.ops, DiffOp{"add", at, plain(y)})
		case !inB:
			d.ops = append(d.ops, DiffOp{Op: "remove", Path: at})
		default:
			d.diff(at, x, y)
		}
	}
}
