package value

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// The default limits of one value.
const (
	DefaultMaxBytes = 1 << 20
	DefaultMaxDepth = 64
	DefaultMaxItems = 1 << 17
)

// Limits bound one value. A field that is zero or less stands for its default.
type Limits struct {
	// MaxBytes bounds JSON text. Binary values are bounded by whoever frames them.
	MaxBytes int
	// MaxDepth bounds the nesting of arrays, objects and sets: 1 and {"$counter": 1}
	// have depth 0, [] and {"$set": []} depth 1, [[]] depth 2.
	MaxDepth int
	// MaxItems bounds the elements and members of all arrays, objects and sets together.
	MaxItems int
}

// DefaultLimits are the limits of a document: 1 MiB, depth 64, 131,072 items.
var DefaultLimits = Limits{MaxBytes: DefaultMaxBytes, MaxDepth: DefaultMaxDepth, MaxItems: DefaultMaxItems}

func (l Limits) orDefault() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = DefaultMaxDepth
	}
	if l.MaxItems <= 0 {
		l.MaxItems = DefaultMaxItems
	}
	return l
}

// Check reports whether v, made by Go code and not by [Parse], is a value as
// the package documentation defines it and within l, counting its canonical
// JSON with types as its bytes. The error wraps [ErrNotValue], [ErrNumber],
// [ErrSyntax] (invalid UTF-8), [ErrReserved], [ErrTooDeep] or [ErrTooLarge].
func Check(v any, l Limits) error {
	l = l.orDefault()
	c := checker{limits: l}
	if err := c.value(v, 0, nil); err != nil {
		return err
	}
	if n := Size(v); n > l.MaxBytes {
		return &Error{Err: ErrTooLarge, Detail: fmt.Sprintf("%d bytes, at most %d are allowed", n, l.MaxBytes), Offset: -1}
	}
	return nil
}

type checker struct {
	limits Limits
	items  int
}

// value checks v, which lies depth containers below the root.
func (c *checker) value(v any, depth int, at *place) error {
	switch v := v.(type) {
	case nil, bool, int64, Counter:
		return nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return at.error(ErrNumber, fmt.Sprint(v))
		}
		return nil
	case string:
		return c.text(v, at)
	case Text:
		return c.text(string(v), at)
	case []any:
		return c.elements(v, depth+1, at)
	case Set:
		if err := c.elements(v, depth+1, at); err != nil {
			return err
		}
		if slices.ContainsFunc(v, hasTypes) {
			return at.error(ErrReserved, setOfTyped)
		}
		for i := 1; i < len(v); i++ {
			if Compare(v[i-1], v[i]) >= 0 {
				return at.error(ErrReserved, "a set must be sorted and have no duplicates")
			}
		}
		return nil
	case map[string]any:
		if err := c.enter(len(v), depth+1, at); err != nil {
			return err
		}
		for name, member := range v {
			if Reserved(name) {
				return at.error(ErrReserved, fmt.Sprintf("%q is no member name", name))
			}
			if err := c.text(name, at); err != nil {
				return err
			}
			if err := c.value(member, depth+1, &place{parent: at, token: name}); err != nil {
				return err
			}
		}
		return nil
	default:
		return at.error(ErrNotValue, fmt.Sprintf("a Go %T", v))
	}
}

func (c *checker) elements(elems []any, depth int, at *place) error {
	if err := c.enter(len(elems), depth, at); err != nil {
		return err
	}
	for i, e := range elems {
		if err := c.value(e, depth, &place{parent: at, index: i, isIndex: true}); err != nil {
			return err
		}
	}
	return nil
}

// enter accounts for a container of n items.
func (c *checker) enter(n, depth int, at *place) error {
	if depth > c.limits.MaxDepth {
		return at.error(ErrTooDeep, tooDeep(c.limits))
	}
	c.items += n
	if c.items > c.limits.MaxItems {
		return at.error(ErrTooLarge, tooMany(c.limits))
	}
	return nil
}

func (c *checker) text(s string, at *place) error {
	if !utf8.ValidString(s) {
		return at.error(ErrSyntax, "invalid UTF-8 in a string")
	}
	return nil
}

func tooDeep(l Limits) string { return fmt.Sprintf("at most %d levels are allowed", l.MaxDepth) }
func tooMany(l Limits) string {
	return fmt.Sprintf("at most %d elements and members are allowed", l.MaxItems)
}

const setOfTyped = "the members of a set are plain values"

// hasTypes reports whether v is or contains a typed value.
func hasTypes(v any) bool {
	switch v := v.(type) {
	case Counter, Set, Text:
		return true
	case []any:
		for _, e := range v {
			if hasTypes(e) {
				return true
			}
		}
	case map[string]any:
		for _, m := range v {
			if hasTypes(m) {
				return true
			}
		}
	}
	return false
}

// Depth returns how deeply arrays, objects and sets are nested in v: 0 for a
// scalar, 1 for an empty array.
func Depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			deepest = max(deepest, Depth(e))
		}
	case Set:
		for _, e := range v {
			deepest = max(deepest, Depth(e))
		}
	case map[string]any:
		for _, m := range v {
			deepest = max(deepest, Depth(m))
		}
	default:
		return 0
	}
	return deepest + 1
}

// place is a path kept on the stack, turned into a pointer only for an error.
type place struct {
	parent  *place
	token   string
	index   int
	isIndex bool
}

func (p *place) pointer() Pointer {
	if p == nil {
		return nil
	}
	token := p.token
	if p.isIndex {
		token = fmt.Sprint(p.index)
	}
	return append(p.parent.pointer(), token)
}

func (p *place) error(sentinel error, detail string) error {
	return &Error{Err: sentinel, Detail: detail, Pointer: p.pointer().String(), Offset: -1}
}
