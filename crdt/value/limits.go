package value

import (
	"fmt"
	"math"
	"slices"
	"strconv"
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
	_, err := check(v, l.orDefault())
	return err
}

// CheckPlain is Check, and also reports whether v is plain JSON, without a typed value,
// and about how many bytes its binary form has.
func CheckPlain(v any, l Limits) (plain bool, bytes int, err error) {
	c, err := check(v, l.orDefault())
	return !c.typed, c.text + binaryItem*(c.items+1), err
}

// binaryItem is about what an item takes in binary form besides its text, with its name.
const binaryItem = 6

func check(v any, l Limits) (checker, error) {
	c := checker{limits: l}
	if err := c.value(v, 0); err != nil {
		return c, err
	}
	if maxScalar+maxItem*c.items+maxByte*c.text <= l.MaxBytes {
		return c, nil
	}
	if n := Size(v); n > l.MaxBytes {
		return c, bad(ErrTooLarge, fmt.Sprintf("%d bytes, at most %d are allowed", n, l.MaxBytes))
	}
	return c, nil
}

// Bounds of what is in a value's JSON, so that it is measured only where it may be too large.
const (
	maxByte   = len(`\u0000`)                            // for a byte of a string or name
	maxScalar = len(`{"$counter":-9223372036854775808}`) // for a value, but for the bytes and items in it
	maxItem   = maxScalar + len(`"":,`)                  // for an element or member
)

type checker struct {
	limits Limits
	items  int
	text   int  // bytes of strings and names
	typed  bool // a typed value was met
}

// value checks v, which lies depth containers below the root.
func (c *checker) value(v any, depth int) *Error {
	switch v := v.(type) {
	case nil, bool, int64:
		return nil
	case Counter:
		c.typed = true
		return nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return bad(ErrNumber, fmt.Sprint(v))
		}
		return nil
	case string:
		return c.string(v)
	case Text:
		c.typed = true
		return c.string(string(v))
	case []any:
		return c.elements(v, depth+1)
	case Set:
		c.typed = true
		if err := c.elements(v, depth+1); err != nil {
			return err
		}
		if slices.ContainsFunc(v, hasTypes) {
			return bad(ErrReserved, setOfTyped)
		}
		for i := 1; i < len(v); i++ {
			if Compare(v[i-1], v[i]) >= 0 {
				return bad(ErrReserved, "a set must be sorted and have no duplicates")
			}
		}
		return nil
	case map[string]any:
		return c.members(v, depth+1)
	default:
		return bad(ErrNotValue, fmt.Sprintf("a Go %T", v))
	}
}

func (c *checker) elements(elems []any, depth int) *Error {
	if err := c.enter(len(elems), depth); err != nil {
		return err
	}
	for i, e := range elems {
		if err := c.value(e, depth); err != nil {
			return err.within(strconv.Itoa(i))
		}
	}
	return nil
}

func (c *checker) members(m map[string]any, depth int) *Error {
	if err := c.enter(len(m), depth); err != nil {
		return err
	}
	for name, member := range m {
		if Reserved(name) {
			return bad(ErrReserved, fmt.Sprintf("%q is no member name", name))
		}
		if err := c.string(name); err != nil {
			return err
		}
		if err := c.value(member, depth); err != nil {
			return err.within(name)
		}
	}
	return nil
}

// enter accounts for a container of n items.
func (c *checker) enter(n, depth int) *Error {
	if depth > c.limits.MaxDepth {
		return bad(ErrTooDeep, tooDeep(c.limits))
	}
	c.items += n
	if c.items > c.limits.MaxItems {
		return bad(ErrTooLarge, tooMany(c.limits))
	}
	return nil
}

func (c *checker) string(s string) *Error {
	c.text += len(s)
	if !utf8.ValidString(s) {
		return bad(ErrSyntax, "invalid UTF-8 in a string")
	}
	return nil
}

// bad is an error about a value that was not read from anywhere.
func bad(sentinel error, detail string) *Error {
	return &Error{Err: sentinel, Detail: detail, Offset: -1}
}

// within adds the container that e comes from.
func (e *Error) within(token string) *Error {
	e.Pointer = Pointer{token}.String() + e.Pointer
	return e
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
