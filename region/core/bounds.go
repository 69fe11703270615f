package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Bounds of bounds.
const (
	// MaxBounds is the most counters of a document that can have bounds.
	MaxBounds = 16
	// MaxBound is the greatest bound, and its negative the least.
	MaxBound = 1 << 53
)

// A Bound keeps a counter within limits in all regions at once.
type Bound struct {
	// Path is where the counter is: names of members.
	Path value.Pointer
	// Min and Max are its limits, nil for none. A counter starts at 0, so that
	// is within them.
	Min, Max *int64
}

// Bounds are those of a collection's documents, by path. They are fixed when
// the collection is made.
type Bounds []Bound

type boundJSON struct {
	Min *int64 `json:"min,omitempty"`
	Max *int64 `json:"max,omitempty"`
}

func parseBounds(b json.RawMessage) (Bounds, error) {
	fail := func(format string, args ...any) (Bounds, error) {
		return nil, fmt.Errorf("%w: bounds: "+format, append([]any{ErrInvalid}, args...)...)
	}
	var in map[string]json.RawMessage
	if err := json.Unmarshal(b, &in); err != nil {
		return fail("give an object such as {\"/stock\": {\"min\": 0}}")
	}
	if len(in) > MaxBounds {
		return fail("%d counters, at most %d", len(in), MaxBounds)
	}
	var out Bounds
	for _, text := range slices.Sorted(maps.Keys(in)) {
		p, err := value.ParsePointer(text)
		if err != nil || len(p) == 0 || len(text) > crdt.MaxIDBytes {
			return fail("%.100q is no JSON pointer to a member", text)
		}
		d := json.NewDecoder(strings.NewReader(string(in[text])))
		d.DisallowUnknownFields()
		var x boundJSON
		if err := d.Decode(&x); err != nil || x.Min == nil && x.Max == nil {
			return fail("%.100q has \"min\", \"max\", or both, which are integers", text)
		}
		if x.Min != nil && (*x.Min > 0 || *x.Min < -MaxBound) || x.Max != nil && (*x.Max < 0 || *x.Max > MaxBound) {
			return fail("%.100q: a counter starts at 0, which has to be within its bounds, and these within ±2^53", text)
		}
		for _, o := range out {
			if strings.HasPrefix(text, o.Path.String()+"/") {
				return fail("%.100q lies within %.100q", text, o.Path.String())
			}
		}
		out = append(out, Bound{Path: p, Min: x.Min, Max: x.Max})
	}
	return out, nil
}

// setting writes what parseBounds reads, nothing if there are none.
func (b Bounds) setting() json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	out := map[string]boundJSON{}
	for _, x := range b {
		out[x.Path.String()] = boundJSON{x.Min, x.Max}
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err) // numbers
	}
	return text
}

func (b Bounds) equal(o Bounds) bool { return string(b.setting()) == string(o.setting()) }

// at returns the bound of the counter at a path, nil if it has none.
func (b Bounds) at(p value.Pointer) *Bound {
	for i := range b {
		if slices.Equal(b[i].Path, p) {
			return &b[i]
		}
	}
	return nil
}

// edit makes counters of the integers that an edit writes where there are
// bounds, and checks the bounds that it names itself.
func (b Bounds) edit(e crdt.Edit) (crdt.Edit, error) {
	e.Value = b.counted(e.Value, e.Path)
	if len(e.Ops) == 0 {
		return e, nil
	}
	e.Ops = slices.Clone(e.Ops)
	for i := range e.Ops {
		o := &e.Ops[i]
		if o.Min != nil || o.Max != nil {
			x := b.at(o.Path)
			if x == nil || !sameLimit(o.Min, x.Min) || !sameLimit(o.Max, x.Max) {
				return e, fmt.Errorf("%w: operation %d: the bounds of %q are not these: they are the collection's setting \"bounds\"",
					crdt.ErrRefused, i, o.Path.String())
			}
			o.Min, o.Max = nil, nil
		}
		if o.Op != "inc" && o.Op != "test" {
			o.Value = b.counted(o.Value, o.Path)
		}
	}
	return e, nil
}

// sameLimit reports whether a limit that an operation names, if it names one, is the counter's.
func sameLimit(named, is *int64) bool { return named == nil || is != nil && *named == *is }

// counted returns what is written to a path, with counters where bounds are.
func (b Bounds) counted(v any, at value.Pointer) any {
	for i := range b {
		if p := b[i].Path; len(at) <= len(p) && slices.Equal(at, p[:len(at)]) {
			v = counterAt(v, p[len(at):])
		}
	}
	return v
}

func counterAt(v any, p value.Pointer) any {
	if len(p) == 0 {
		if n, ok := v.(int64); ok {
			return value.Counter(n)
		}
		return v
	}
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	old, ok := m[p[0]]
	if !ok {
		return v
	}
	m = maps.Clone(m)
	m[p[0]] = counterAt(old, p[1:])
	return m
}
