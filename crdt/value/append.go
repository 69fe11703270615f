package value

import (
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Options say how values are written.
type Options struct {
	// Types writes typed values as {"$counter": 5} and so on, which [Parse]
	// reads back. Otherwise they are written as [Plain] shows them.
	Types bool
}

// AppendString is [Append] of a string.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s) }

// Append appends v to dst as canonical JSON: no white space, names in the order
// of their bytes, as few escapes as possible, integers plain, other numbers as
// RFC 8785 has them but never without fraction and exponent (1.0 stays 1.0).
// Equal values give equal bytes, and with Types [Parse] gives v back. It panics
// when v is not a value.
func Append(dst []byte, v any, o Options) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		mustBeFinite(v)
		return appendFloat(dst, v)
	case string:
		return appendString(dst, v)
	case []any:
		return appendArray(dst, v, o)
	case map[string]any:
		return appendObject(dst, v, o)
	case Counter:
		if !o.Types {
			return strconv.AppendInt(dst, int64(v), 10)
		}
		dst = append(dst, `{"`+counterName+`":`...)
		dst = strconv.AppendInt(dst, int64(v), 10)
		return append(dst, '}')
	case Set:
		if !o.Types {
			return appendArray(dst, v, o)
		}
		dst = append(dst, `{"`+setName+`":`...)
		dst = appendArray(dst, v, o)
		return append(dst, '}')
	case Text:
		if !o.Types {
			return appendString(dst, string(v))
		}
		dst = append(dst, `{"`+textName+`":`...)
		dst = appendString(dst, string(v))
		return append(dst, '}')
	default:
		panic(notAValue(v))
	}
}

func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // fails for invalid UTF-8 only, which no value has
	return dst
}

func appendArray(dst []byte, elems []any, o Options) []byte {
	dst = append(dst, '[')
	for i, e := range elems {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = Append(dst, e, o)
	}
	return append(dst, ']')
}

func appendObject(dst []byte, m map[string]any, o Options) []byte {
	var buf [keysOnStack]string
	dst = append(dst, '{')
	for i, name := range sortedNames(m, buf[:0]) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = Append(dst, m[name], o)
	}
	return append(dst, '}')
}

// Size returns how many bytes [Append] writes for v with Types set.
func Size(v any) int {
	var buf [32]byte
	switch v := v.(type) {
	case nil:
		return len("null")
	case bool:
		if v {
			return len("true")
		}
		return len("false")
	case int64:
		return len(strconv.AppendInt(buf[:0], v, 10))
	case float64:
		mustBeFinite(v)
		return len(appendFloat(buf[:0], v))
	case string:
		return quotedSize(v)
	case []any:
		return arraySize(v)
	case map[string]any:
		n := len("{}") + max(0, len(v)-1)
		for name, member := range v {
			n += quotedSize(name) + len(":") + Size(member)
		}
		return n
	case Counter:
		return len(`{"`+counterName+`":}`) + Size(int64(v))
	case Set:
		return len(`{"`+setName+`":}`) + arraySize(v)
	case Text:
		return len(`{"`+textName+`":}`) + quotedSize(string(v))
	default:
		panic(notAValue(v))
	}
}

func arraySize(elems []any) int {
	n := len("[]") + max(0, len(elems)-1)
	for _, e := range elems {
		n += Size(e)
	}
	return n
}

func quotedSize(s string) int {
	n := len(`""`) + len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\', c == '\b', c == '\f', c == '\n', c == '\r', c == '\t':
			n++
		case c < ' ':
			n += len(`\u0000`) - 1
		}
	}
	return n
}

func mustBeFinite(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		panic("value: NaN and infinities are not values")
	}
}
