// Package value holds JSON values with exact numbers, and reads and writes them.
//
// A value is a Go any that holds one of
//
//	nil, bool, string
//	int64           a number written without fraction and exponent
//	float64         any other number, always finite
//	[]any           a JSON array
//	map[string]any  a JSON object
//	Counter, Set, Text  the typed values, written {"$counter": 5}, {"$set": […]}, {"$text": "…"}
//
// and nothing else. Strings and member names are valid UTF-8, no object has a
// member named $counter, $set or $text (see [Reserved]), and a Set is sorted,
// has no duplicates and holds no typed values. [Parse], [DecodeBinary] and
// [Check] let only such values through; every other function relies on it and
// may panic on anything else. Values are shared freely, so nobody changes one
// in place: [Clone] first.
//
// A number keeps its kind and its exact decimal value, or it is refused: 1 and
// 1.0 are different values, 0.1 is kept, 0.1000000000000000055 is an error.
//
// The package is pure: it has no state, no clock and no I/O.
package value

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Counter is a count that regions increment concurrently: {"$counter": 5}.
type Counter int64

// Set is a set of plain values: {"$set": ["red"]}. It is sorted by [Compare]
// and has no two equal members; [NewSet] makes it so.
type Set []any

// Text is a string that regions edit concurrently: {"$text": "…"}.
type Text string

// The names of typed values.
const (
	counterName = "$counter"
	setName     = "$set"
	textName    = "$text"
)

// Reserved reports whether no object may have a member of this name, because
// an object with that one member spells a typed value.
func Reserved(name string) bool {
	return len(name) > 0 && name[0] == '$' && (name == counterName || name == setName || name == textName)
}

// NewSet returns the set of the given values, which must not contain typed
// values. It takes members over, and sorts it in place.
func NewSet(members []any) Set {
	slices.SortFunc(members, Compare)
	members = slices.CompactFunc(members, func(a, b any) bool { return Compare(a, b) == 0 })
	if members == nil {
		return Set{}
	}
	return Set(members)
}

// Contains reports whether v is a member of s.
func (s Set) Contains(v any) bool {
	_, found := slices.BinarySearchFunc(s, v, Compare)
	return found
}

// Equal reports whether a and b are the same value: of the same kind, numbers
// with the same bits. So 1 differs from 1.0, and 0.0 from -0.0.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, Equal)
	case Set:
		b, ok := b.(Set)
		return ok && slices.EqualFunc(a, b, Equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, Equal)
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case bool, int64, string, Counter, Text:
		return a == b
	default:
		panic(notAValue(a))
	}
}

// Same reports whether a and b are the same JSON in the sense of RFC 6902,
// section 4.6: numbers are compared by their numeric value, so that 1 is the
// same as 1.0, and typed values count as what [Plain] makes of them. It is what
// the operation "test" of a JSON patch asks; everything else uses [Equal].
func Same(a, b any) bool {
	a, b = plainShallow(a), plainShallow(b)
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, Same)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, Same)
	case int64:
		if f, ok := b.(float64); ok {
			return sameNumber(a, f)
		}
	case float64:
		if i, ok := b.(int64); ok {
			return sameNumber(i, a)
		}
		return a == b // 0.0 and -0.0 are one number
	}
	return Equal(a, b)
}

func sameNumber(i int64, f float64) bool {
	// 2^63 is a float64 and no int64; converting it would be undefined.
	return f >= -1<<63 && f < 1<<63 && f == math.Trunc(f) && int64(f) == i
}

// rank orders the kinds.
func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case int64:
		return 2
	case float64:
		return 3
	case string:
		return 4
	case []any:
		return 5
	case map[string]any:
		return 6
	case Counter:
		return 7
	case Set:
		return 8
	case Text:
		return 9
	default:
		panic(notAValue(v))
	}
}

// Compare is a total order of values, in which two values are equal exactly
// when [Equal] says so. Kinds come first (null, boolean, integer, other number,
// string, array, object, counter, set, text), then the value: false before
// true, -0.0 before 0.0, strings by bytes, arrays and sets by elements, objects
// by their members in the order of names. It is the canonical order of sets,
// and part of the replicated state: it never changes.
func Compare(a, b any) int {
	if c := rank(a) - rank(b); c != 0 {
		return cmp.Compare(c, 0)
	}
	switch a := a.(type) {
	case bool:
		switch {
		case a == b.(bool):
			return 0
		case a:
			return 1
		default:
			return -1
		}
	case int64:
		return cmp.Compare(a, b.(int64))
	case float64:
		b := b.(float64)
		if a == 0 && b == 0 {
			return cmp.Compare(math.Copysign(1, a), math.Copysign(1, b))
		}
		return cmp.Compare(a, b)
	case string:
		return strings.Compare(a, b.(string))
	case []any:
		return slices.CompareFunc(a, b.([]any), Compare)
	case map[string]any:
		return compareObjects(a, b.(map[string]any))
	case Counter:
		return cmp.Compare(a, b.(Counter))
	case Set:
		return slices.CompareFunc(a, b.(Set), Compare)
	case Text:
		return cmp.Compare(a, b.(Text))
	}
	return 0
}

func compareObjects(a, b map[string]any) int {
	var bufA, bufB [keysOnStack]string
	namesA, namesB := sortedNames(a, bufA[:0]), sortedNames(b, bufB[:0])
	for i := range min(len(namesA), len(namesB)) {
		if c := strings.Compare(namesA[i], namesB[i]); c != 0 {
			return c
		}
		if c := Compare(a[namesA[i]], b[namesB[i]]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(namesA), len(namesB))
}

// keysOnStack is how many names of an object are sorted without allocating.
const keysOnStack = 16

// sortedNames appends the names of m to dst in the order of their bytes.
func sortedNames(m map[string]any, dst []string) []string {
	for name := range m {
		dst = append(dst, name)
	}
	slices.Sort(dst)
	return dst
}

// Clone returns a copy of v that shares nothing changeable with it.
func Clone(v any) any {
	switch v := v.(type) {
	case []any:
		return cloneSlice(v)
	case Set:
		return Set(cloneSlice(v))
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, member := range v {
			m[name] = Clone(member)
		}
		return m
	default:
		return v
	}
}

func cloneSlice(s []any) []any {
	c := make([]any, len(s))
	for i, e := range s {
		c[i] = Clone(e)
	}
	return c
}

// Plain returns v as a plain read shows it: counters as numbers, sets as arrays
// in canonical order, text as strings. Parts of the result may be parts of v.
func Plain(v any) any {
	switch v := plainShallow(v).(type) {
	case []any:
		p := make([]any, len(v))
		for i, e := range v {
			p[i] = Plain(e)
		}
		return p
	case map[string]any:
		p := make(map[string]any, len(v))
		for name, member := range v {
			p[name] = Plain(member)
		}
		return p
	default:
		return v
	}
}

// plainShallow does Plain's work for v itself and leaves its parts alone.
func plainShallow(v any) any {
	switch v := v.(type) {
	case Counter:
		return int64(v)
	case Set:
		return []any(v)
	case Text:
		return string(v)
	default:
		return v
	}
}

func notAValue(v any) string {
	return fmt.Sprintf("value: a %T is not a value", v)
}
