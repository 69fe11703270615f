package value

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Parse reads one JSON value that takes up all of b, white space aside, and
// keeps nothing of b. Objects with the one member $counter (an integer), $set
// (an array of plain values; order and duplicates do not matter) or $text
// (a string) become typed values. See [ErrSyntax], [ErrNumber], [ErrReserved],
// [ErrTooDeep] and [ErrTooLarge] for what is refused; the error is an *[Error].
//
// Integers go from -2^63 to 2^63-1. Any other number is kept if a float64
// exists whose shortest decimal form denotes the same number, as is the case
// for every number of up to 15 digits between 1e-307 and 1e308. "-0" is -0.0.
func Parse(b []byte, l Limits) (any, error) {
	l = l.orDefault()
	if len(b) > l.MaxBytes {
		return nil, &Error{Err: ErrTooLarge, Detail: fmt.Sprintf("at most %d bytes are allowed", l.MaxBytes), Offset: int64(l.MaxBytes)}
	}
	p := parsers.Get().(*parser)
	defer p.release()
	p.input = *bytes.NewBuffer(b)
	p.dec.Reset(&p.input, decoderOptions...)
	p.limits = l
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	end := p.dec.InputOffset()
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, &Error{Err: ErrSyntax, Detail: "something follows the value", Offset: end}
	}
	return v, nil
}

// ParseObject is [Parse] for input that must be an object, and not a typed
// value; otherwise the error wraps [ErrNotObject].
func ParseObject(b []byte, l Limits) (map[string]any, error) {
	v, err := Parse(b, l)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, &Error{Err: ErrNotObject, Detail: "got " + kindName(v), Offset: 0}
	}
	return m, nil
}

// parser reads one value at a time. Items of unfinished arrays and objects lie
// on its two stacks, so that every container is allocated once, in its size.
type parser struct {
	dec      jsontext.Decoder
	input    bytes.Buffer
	limits   Limits
	items    int
	elements []any
	members  []member
	names    [internedNames]string // seen lately, by hash
}

type member struct {
	name   string
	value  any
	offset int64 // of the name
}

const (
	// maxPooledItems bounds the stacks that an idle parser keeps.
	maxPooledItems = 1 << 10
	// Documents have the same few names over and over. A parser remembers this
	// many, of up to this length, to hand out one string for all of them.
	internedNames  = 256
	maxInternedLen = 32
)

var (
	parsers = sync.Pool{New: func() any { return new(parser) }}
	// object finds duplicates by itself, and for less.
	decoderOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true)}
	noInput        bytes.Reader
)

// release gives p back, holding on to nothing of what it has read but names.
func (p *parser) release() {
	p.input = bytes.Buffer{}
	p.dec.Reset(&noInput)
	p.items = 0
	clear(p.elements) // left over by an error
	clear(p.members)
	if cap(p.elements) > maxPooledItems {
		p.elements = nil
	}
	if cap(p.members) > maxPooledItems {
		p.members = nil
	}
	p.elements, p.members = p.elements[:0], p.members[:0]
	parsers.Put(p)
}

// value reads the next value, which lies depth containers below the root.
func (p *parser) value(depth int) (any, error) {
	switch p.dec.PeekKind() {
	case '{':
		return p.object(depth)
	case '[':
		elems, err := p.array(depth + 1)
		if err != nil {
			return nil, err
		}
		return elems, nil
	case '"':
		s, err := p.string()
		if err != nil {
			return nil, err
		}
		return s, nil
	case '0':
		raw, err := p.dec.ReadValue()
		if err != nil {
			return nil, p.wrap(err)
		}
		v, ok := parseNumber(raw)
		if !ok {
			return nil, p.error(ErrNumber, clip(string(raw)), p.dec.InputOffset()-int64(len(raw)))
		}
		return v, nil
	default:
		tok, err := p.dec.ReadToken()
		if err != nil {
			return nil, p.wrap(err)
		}
		switch tok.Kind() {
		case 't':
			return true, nil
		case 'f':
			return false, nil
		default:
			return nil, nil
		}
	}
}

func (p *parser) string() (string, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return "", p.wrap(err)
	}
	return unquote(raw), nil
}

// unquote returns the content of a JSON string that the tokenizer has accepted.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	s, _ := jsontext.AppendUnquote(nil, raw)
	return string(s)
}

// name reads the name of a member, and returns its offset too.
func (p *parser) name() (string, int64, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return "", 0, p.wrap(err)
	}
	offset := p.dec.InputOffset() - int64(len(raw))
	if len(raw) > maxInternedLen {
		return unquote(raw), offset, nil
	}
	hash := uint32(0)
	for _, c := range raw {
		hash = hash*31 + uint32(c)
	}
	known := &p.names[hash%internedNames]
	if content := raw[1 : len(raw)-1]; *known != string(content) || bytes.IndexByte(content, '\\') >= 0 {
		*known = unquote(raw)
	}
	return *known, offset, nil
}

// array reads an array that is itself depth containers deep.
func (p *parser) array(depth int) ([]any, error) {
	if err := p.open(depth); err != nil {
		return nil, err
	}
	base := len(p.elements)
	for p.dec.PeekKind() != ']' {
		if err := p.count(); err != nil {
			return nil, err
		}
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		p.elements = append(p.elements, v)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, p.wrap(err)
	}
	elems := make([]any, len(p.elements)-base)
	copy(elems, p.elements[base:])
	clear(p.elements[base:])
	p.elements = p.elements[:base]
	return elems, nil
}

// object reads an object or a typed value that lies depth containers deep.
func (p *parser) object(depth int) (any, error) {
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, p.wrap(err)
	}
	base := len(p.members)
	for p.dec.PeekKind() != '}' {
		if p.dec.PeekKind() != '"' {
			_, err := p.dec.ReadToken()
			return nil, p.wrap(err)
		}
		name, offset, err := p.name()
		if err != nil {
			return nil, err
		}
		if Reserved(name) {
			if len(p.members) > base {
				return nil, p.error(ErrReserved, name+" must be the only member", offset)
			}
			return p.typed(name, offset, depth)
		}
		// A typed value takes no level of its own, so this has waited for a name.
		if len(p.members) == base {
			if err := p.checkDepth(depth + 1); err != nil {
				return nil, err
			}
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		m := member{name: name, offset: offset}
		if m.value, err = p.value(depth + 1); err != nil {
			return nil, err
		}
		p.members = append(p.members, m)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, p.wrap(err)
	}
	if len(p.members) == base {
		if err := p.checkDepth(depth + 1); err != nil {
			return nil, err
		}
	}
	obj := make(map[string]any, len(p.members)-base)
	for i, m := range p.members[base:] {
		obj[m.name] = m.value
		if len(obj) <= i {
			return nil, p.error(ErrSyntax, fmt.Sprintf("duplicate name %q", clip(m.name)), m.offset)
		}
	}
	clear(p.members[base:])
	p.members = p.members[:base]
	return obj, nil
}

// typed reads the rest of a typed value, of which the name, at offset, has been
// read.
func (p *parser) typed(name string, offset int64, depth int) (any, error) {
	if p.dec.PeekKind() == '{' { // and not a chain of them, as deep as it likes
		return nil, p.error(ErrReserved, name+" needs "+typedContent[name], offset)
	}
	content, err := p.value(depth)
	if err != nil {
		return nil, err
	}
	var v any
	switch content := content.(type) {
	case int64:
		if name == counterName {
			v = Counter(content)
		}
	case string:
		if name == textName {
			v = Text(content)
		}
	case []any:
		if name == setName {
			if slices.ContainsFunc(content, hasTypes) {
				return nil, p.error(ErrReserved, setOfTyped, offset)
			}
			v = NewSet(content)
		}
	}
	if v == nil {
		return nil, p.error(ErrReserved, name+" needs "+typedContent[name], offset)
	}
	if p.dec.PeekKind() == '"' {
		return nil, p.error(ErrReserved, name+" must be the only member", offset)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, p.wrap(err)
	}
	return v, nil
}

var typedContent = map[string]string{
	counterName: "an integer",
	setName:     "an array",
	textName:    "a string",
}

func (p *parser) open(depth int) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return p.wrap(err)
	}
	return p.checkDepth(depth)
}

func (p *parser) checkDepth(depth int) error {
	if depth > p.limits.MaxDepth {
		return p.error(ErrTooDeep, tooDeep(p.limits), p.dec.InputOffset())
	}
	return nil
}

func (p *parser) count() error {
	p.items++
	if p.items > p.limits.MaxItems {
		return p.error(ErrTooLarge, tooMany(p.limits), p.dec.InputOffset())
	}
	return nil
}

// error reports what has just been read, or the container that it is in.
func (p *parser) error(sentinel error, detail string, offset int64) error {
	return &Error{Err: sentinel, Detail: detail, Pointer: string(p.dec.StackPointer()), Offset: offset}
}

// wrap turns an error of the tokenizer into one of this package.
func (p *parser) wrap(err error) error {
	e := &Error{Err: ErrSyntax, Detail: "there is no value", Offset: p.dec.InputOffset()}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		e.Detail, e.Pointer, e.Offset = syntactic.Err.Error(), string(syntactic.JSONPointer), syntactic.ByteOffset
		if errors.Is(err, io.ErrUnexpectedEOF) {
			e.Detail = "it ends too early"
		}
	}
	return e
}

// kindName names the kind of v in messages.
func kindName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case Counter:
		return "a counter"
	case Set:
		return "a set"
	case Text:
		return "a text"
	default:
		return fmt.Sprintf("a Go %T", v)
	}
}
