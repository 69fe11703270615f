package value

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// The binary form of a value is one tag byte and what the tag asks for. It is
// part of stored and replicated bytes: tags are never renumbered.
const (
	tagNull    = 0
	tagFalse   = 1
	tagTrue    = 2
	tagInt     = 3  // zigzag varint
	tagFloat   = 4  // 8 bytes, IEEE 754, big-endian
	tagString  = 5  // uvarint length, bytes
	tagArray   = 6  // uvarint count, values
	tagObject  = 7  // uvarint count, then (uvarint length, bytes, value) by ascending name
	tagCounter = 8  // as tagInt
	tagSet     = 9  // as tagArray, ascending
	tagText    = 10 // as tagString
)

// AppendBinary appends the compact binary form of v to dst. Equal values give
// equal bytes. It panics when v is not a value.
func AppendBinary(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, tagNull)
	case bool:
		if v {
			return append(dst, tagTrue)
		}
		return append(dst, tagFalse)
	case int64:
		return binary.AppendVarint(append(dst, tagInt), v)
	case float64:
		mustBeFinite(v)
		return binary.BigEndian.AppendUint64(append(dst, tagFloat), math.Float64bits(v))
	case string:
		return appendBytes(append(dst, tagString), v)
	case []any:
		return appendElements(append(dst, tagArray), v)
	case map[string]any:
		var buf [keysOnStack]string
		dst = binary.AppendUvarint(append(dst, tagObject), uint64(len(v)))
		for _, name := range sortedNames(v, buf[:0]) {
			dst = AppendBinary(appendBytes(dst, name), v[name])
		}
		return dst
	case Counter:
		return binary.AppendVarint(append(dst, tagCounter), int64(v))
	case Set:
		return appendElements(append(dst, tagSet), v)
	case Text:
		return appendBytes(append(dst, tagText), string(v))
	default:
		panic(notAValue(v))
	}
}

func appendBytes(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendElements(dst []byte, elems []any) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(elems)))
	for _, e := range elems {
		dst = AppendBinary(dst, e)
	}
	return dst
}

// DecodeBinary reads the value at the start of b and returns what follows it.
// It keeps nothing of b. Only bytes that [AppendBinary] writes are accepted, so
// that a value has one form; anything else is [ErrBinary], [ErrTooDeep] or
// [ErrTooLarge]. The memory it takes is in proportion to b, whatever b says.
func DecodeBinary(b []byte, l Limits) (v any, rest []byte, err error) {
	d := decoder{rest: b, size: len(b), limits: l.orDefault()}
	if v, err = d.value(0); err != nil {
		return nil, nil, err
	}
	return v, d.rest, nil
}

// CheckPlainBinary reports whether b is what [AppendBinary] writes of a value that is
// plain JSON, within l, and nothing else. It takes no memory. The errors are those of
// [DecodeBinary], and [ErrReserved] for a typed value.
func CheckPlainBinary(b []byte, l Limits) error {
	d := decoder{rest: b, size: len(b), limits: l.orDefault()}
	if err := d.plain(0); err != nil {
		return err
	}
	if len(d.rest) > 0 {
		return d.fail(ErrBinary, "more bytes than the value has")
	}
	return nil
}

type decoder struct {
	rest   []byte
	size   int // of the whole input
	limits Limits
	items  int
}

// maxPrealloc bounds what is allocated on the word of a count alone.
const maxPrealloc = 256

func (d *decoder) fail(sentinel error, detail string) error {
	return &Error{Err: sentinel, Detail: detail, Offset: int64(d.size - len(d.rest))}
}

// tag takes the next byte, which must be there.
func (d *decoder) tag() byte {
	tag := d.rest[0]
	d.rest = d.rest[1:]
	return tag
}

func (d *decoder) value(depth int) (any, error) {
	if len(d.rest) == 0 {
		return nil, d.fail(ErrBinary, "it ends too early")
	}
	switch tag := d.tag(); tag {
	case tagNull:
		return nil, nil
	case tagFalse:
		return false, nil
	case tagTrue:
		return true, nil
	case tagInt:
		i, err := d.varint()
		if err != nil {
			return nil, err
		}
		return i, nil
	case tagCounter:
		i, err := d.varint()
		if err != nil {
			return nil, err
		}
		return Counter(i), nil
	case tagFloat:
		f, err := d.float()
		if err != nil {
			return nil, err
		}
		return f, nil
	case tagString:
		s, err := d.string()
		if err != nil {
			return nil, err
		}
		return s, nil
	case tagText:
		s, err := d.string()
		if err != nil {
			return nil, err
		}
		return Text(s), nil
	case tagArray:
		elems, err := d.elements(depth + 1)
		if err != nil {
			return nil, err
		}
		return elems, nil
	case tagSet:
		return d.set(depth + 1)
	case tagObject:
		return d.object(depth + 1)
	default:
		return nil, d.fail(ErrBinary, fmt.Sprintf("unknown tag %d", tag))
	}
}

func (d *decoder) uvarint() (uint64, error) {
	u, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		return 0, d.fail(ErrBinary, "bad varint")
	}
	d.rest = d.rest[n:]
	return u, nil
}

func (d *decoder) varint() (int64, error) {
	u, err := d.uvarint()
	return int64(u>>1) ^ -int64(u&1), err
}

func (d *decoder) float() (float64, error) {
	if len(d.rest) < 8 {
		return 0, d.fail(ErrBinary, "it ends too early")
	}
	f := math.Float64frombits(binary.BigEndian.Uint64(d.rest))
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, d.fail(ErrBinary, "a number is not finite")
	}
	d.rest = d.rest[8:]
	return f, nil
}

func (d *decoder) string() (string, error) {
	b, err := d.text()
	return string(b), err
}

// text reads a string, which stays where it is.
func (d *decoder) text() ([]byte, error) {
	n, err := d.uvarint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(d.rest)) {
		return nil, d.fail(ErrBinary, "it ends too early")
	}
	b := d.rest[:n]
	if !utf8.Valid(b) {
		return nil, d.fail(ErrBinary, "invalid UTF-8")
	}
	d.rest = d.rest[n:]
	return b, nil
}

// enter reads the count of a container whose items take at least size bytes each.
func (d *decoder) enter(depth int, size uint64) (int, error) {
	if depth > d.limits.MaxDepth {
		return 0, d.fail(ErrTooDeep, tooDeep(d.limits))
	}
	n, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	if n > uint64(len(d.rest))/size {
		return 0, d.fail(ErrBinary, "it ends too early")
	}
	if n > uint64(d.limits.MaxItems-d.items) {
		return 0, d.fail(ErrTooLarge, tooMany(d.limits))
	}
	d.items += int(n)
	return int(n), nil
}

func (d *decoder) elements(depth int) ([]any, error) {
	n, err := d.enter(depth, 1)
	if err != nil {
		return nil, err
	}
	elems := make([]any, 0, min(n, maxPrealloc))
	for range n {
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		elems = append(elems, v)
	}
	return elems, nil
}

func (d *decoder) set(depth int) (any, error) {
	elems, err := d.elements(depth)
	if err != nil {
		return nil, err
	}
	for i, e := range elems {
		if hasTypes(e) {
			return nil, d.fail(ErrBinary, setOfTyped)
		}
		if i > 0 && Compare(elems[i-1], e) >= 0 {
			return nil, d.fail(ErrBinary, "a set is out of order")
		}
	}
	return Set(elems), nil
}

func (d *decoder) object(depth int) (any, error) {
	n, err := d.enter(depth, 2)
	if err != nil {
		return nil, err
	}
	m := make(map[string]any, min(n, maxPrealloc))
	var previous []byte
	for i := range n {
		name, err := d.text()
		if err != nil {
			return nil, err
		}
		if err := d.checkName(name, previous, i); err != nil {
			return nil, err
		}
		previous = name
		if m[string(name)], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// plain passes over a value, as value reads it.
func (d *decoder) plain(depth int) error {
	if len(d.rest) == 0 {
		return d.fail(ErrBinary, "it ends too early")
	}
	var err error
	switch tag := d.tag(); tag {
	case tagNull, tagFalse, tagTrue:
	case tagInt:
		_, err = d.varint()
	case tagFloat:
		_, err = d.float()
	case tagString:
		_, err = d.text()
	case tagArray:
		err = d.plainElements(depth + 1)
	case tagObject:
		err = d.plainMembers(depth + 1)
	case tagCounter, tagSet, tagText:
		err = d.fail(ErrReserved, "a typed value")
	default:
		err = d.fail(ErrBinary, fmt.Sprintf("unknown tag %d", tag))
	}
	return err
}

func (d *decoder) plainElements(depth int) error {
	n, err := d.enter(depth, 1)
	for i := 0; err == nil && i < n; i++ {
		err = d.plain(depth)
	}
	return err
}

func (d *decoder) plainMembers(depth int) error {
	n, err := d.enter(depth, 2)
	var previous []byte
	for i := 0; err == nil && i < n; i++ {
		var name []byte
		if name, err = d.text(); err != nil {
			return err
		}
		if err = d.checkName(name, previous, i); err != nil {
			return err
		}
		previous = name
		err = d.plain(depth)
	}
	return err
}

// checkName checks the name of the member of number i, which follows previous.
func (d *decoder) checkName(name, previous []byte, i int) error {
	if i > 0 && bytes.Compare(previous, name) >= 0 {
		return d.fail(ErrBinary, "names are out of order")
	}
	if Reserved(string(name)) {
		return d.fail(ErrBinary, "a member has a reserved name")
	}
	return nil
}
