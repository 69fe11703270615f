package validate

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"io"
)

var magic = []byte{0x85, 0x6f, 0x4a, 0x83}

// The types of chunks.
const (
	chunkDocument   = 0
	chunkChange     = 1
	chunkCompressed = 2
)

const chunkHeader = 4 + 4 + 1 // magic, checksum, type

// hashOf is the hash of a chunk, of which the checksum is the start.
func hashOf(typ byte, contents []byte) (h Hash) {
	s := sha256.New()
	s.Write(appendUleb([]byte{typ}, uint64(len(contents))))
	s.Write(contents)
	s.Sum(h[:0])
	return h
}

// sealChunk puts a header in front of the contents.
func sealChunk(typ byte, contents []byte) (chunk []byte, h Hash) {
	h = hashOf(typ, contents)
	chunk = make([]byte, 0, chunkHeader+ulebLen(uint64(len(contents)))+len(contents))
	chunk = append(chunk, magic...)
	chunk = append(chunk, h[:4]...)
	chunk = appendUleb(append(chunk, typ), uint64(len(contents)))
	return append(chunk, contents...), h
}

// openChunk reads one chunk, checks its checksum, and inflates it. What it
// returns of a compressed change is that of the plain one.
func openChunk(b []byte, limit int) (typ byte, contents, rest []byte, h Hash, err error) {
	r := &reader{b: b}
	if !bytes.Equal(r.take(len(magic)), magic) {
		r.fail("it does not start like a chunk")
	}
	sum := r.take(4)
	if t := r.take(1); r.err == nil {
		typ = t[0]
	}
	contents = r.bytes(len(r.b))
	if r.err != nil {
		return 0, nil, nil, h, r.err
	}
	switch typ {
	case chunkDocument, chunkChange:
		if len(contents) > limit {
			return 0, nil, nil, h, tooLarge("a chunk of %d bytes, at most %d are allowed", len(contents), limit)
		}
	case chunkCompressed:
		if contents, err = inflate(contents, limit); err != nil {
			return 0, nil, nil, h, err
		}
		typ = chunkChange
	default:
		return 0, nil, nil, h, invalid("an unknown type of chunk")
	}
	if h = hashOf(typ, contents); !bytes.Equal(h[:4], sum) {
		return 0, nil, nil, h, invalid("the checksum is wrong")
	}
	return typ, contents, r.b, h, nil
}

// inflate undoes raw DEFLATE, up to limit bytes.
func inflate(b []byte, limit int) ([]byte, error) {
	f := flate.NewReader(bytes.NewReader(b))
	out, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, invalid("malformed compression")
	case len(out) > limit:
		return nil, tooLarge("it inflates to more than %d bytes", limit)
	}
	return out, nil
}

// Parse reads what a client sends as Automerge data: any number of changes and
// saved documents, one after the other. It returns their changes, dependencies
// first as far as the input has them so, each once.
func Parse(b []byte, l Limits) ([]*Change, error) {
	l = l.orDefault()
	if len(b) == 0 {
		return nil, invalid("it is empty")
	}
	if len(b) > l.Message {
		return nil, tooLarge("%d bytes, at most %d are allowed", len(b), l.Message)
	}
	var out []*Change
	seen := map[Hash]bool{}
	ops, inflated := 0, 0
	for len(b) > 0 {
		typ, contents, rest, h, err := openChunk(b, l.Inflated)
		if err != nil {
			return nil, err
		}
		if inflated += len(contents); inflated > 4*l.Inflated {
			return nil, tooLarge("it inflates to more than %d bytes", 4*l.Inflated)
		}
		b = rest
		var cs []*Change
		if typ == chunkDocument {
			cs, err = parseDocument(contents, l)
		} else {
			var c *Change
			c, err = parseChange(contents, h, l)
			cs = []*Change{c}
		}
		if err != nil {
			return nil, err
		}
		for _, c := range cs {
			if seen[c.Hash] {
				continue
			}
			seen[c.Hash] = true
			switch ops += len(c.Ops); {
			case ops > l.Ops:
				return nil, tooLarge("more than %d operations (each character is one)", l.Ops)
			case len(out) >= l.Changes:
				return nil, tooLarge("more than %d changes in a history", l.Changes)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// ParseChange reads exactly one change.
func ParseChange(b []byte, l Limits) (*Change, error) {
	l = l.orDefault()
	if len(b) > l.Message {
		return nil, tooLarge("%d bytes, at most %d are allowed", len(b), l.Message)
	}
	typ, contents, rest, h, err := openChunk(b, l.Inflated)
	switch {
	case err != nil:
		return nil, err
	case typ != chunkChange:
		return nil, invalid("a document where a change is needed")
	case len(rest) > 0:
		return nil, invalid("trailing bytes after a change")
	}
	return parseChange(contents, h, l)
}
