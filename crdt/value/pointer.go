package value

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Pointer is a JSON pointer (RFC 6901) as its unescaped tokens. The empty
// pointer names the whole document.
type Pointer []string

var (
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
	unescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

// ParsePointer reads a pointer in its string form: "", or tokens that each
// start with "/", in which ~0 stands for ~ and ~1 for /. The error wraps
// [ErrPointer].
func ParsePointer(s string) (Pointer, error) {
	if s == "" {
		return Pointer{}, nil
	}
	if s[0] != '/' {
		return nil, fmt.Errorf("%w: %q does not start with \"/\"", ErrPointer, clip(s))
	}
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%w: invalid UTF-8", ErrPointer)
	}
	for i := range len(s) {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return nil, fmt.Errorf("%w: %q has a \"~\" that is not followed by 0 or 1", ErrPointer, clip(s))
		}
	}
	p := Pointer(strings.Split(s[1:], "/"))
	if strings.IndexByte(s, '~') >= 0 {
		for i, token := range p {
			p[i] = unescaper.Replace(token)
		}
	}
	return p, nil
}

// String returns the string form of p.
func (p Pointer) String() string {
	var b strings.Builder
	for _, token := range p {
		b.WriteByte('/')
		_, _ = escaper.WriteString(&b, token)
	}
	return b.String()
}

// EndOfList is the token that names the place after the last element.
const EndOfList = "-"

// ParseIndex reads a token as the index of an array element: decimal digits
// without leading zeros (RFC 6901, section 4). "-" is not an index.
func ParseIndex(token string) (int, bool) {
	if token == "" || len(token) > 1 && token[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(token) {
		c := token[i]
		if c < '0' || c > '9' || n > (math.MaxInt32-9)/10 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// Find returns the part of v that p names, and whether there is one. Typed
// values have no parts.
func Find(v any, p Pointer) (any, bool) {
	for _, token := range p {
		child, ok := child(v, token)
		if !ok {
			return nil, false
		}
		v = child
	}
	return v, true
}

func child(v any, token string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		member, ok := v[token]
		return member, ok
	case []any:
		if i, ok := ParseIndex(token); ok && i < len(v) {
			return v[i], true
		}
	}
	return nil, false
}
