package validate

import (
	"encoding/binary"
	"math/bits"
)

// reader takes primitives from bytes. The first failure sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = invalid("%s", what)
		r.b = nil
	}
}

// uleb reads an unsigned LEB128 number in its shortest form.
func (r *reader) uleb() uint64 {
	n, k := binary.Uvarint(r.b)
	if k <= 0 || k > 1 && r.b[k-1] == 0 {
		r.fail("a malformed number")
		return 0
	}
	r.b = r.b[k:]
	return n
}

// sleb reads a signed LEB128 number in its shortest form.
func (r *reader) sleb() int64 {
	var n int64
	for i, shift := 0, 0; i < len(r.b) && i < 10; i++ {
		c := r.b[i]
		n |= int64(c&0x7f) << shift
		shift += 7
		if c&0x80 != 0 {
			continue
		}
		if shift < 64 && c&0x40 != 0 {
			n |= -1 << shift
		}
		if len(appendSleb(nil, n)) != i+1 {
			break
		}
		r.b = r.b[i+1:]
		return n
	}
	r.fail("a malformed number")
	return 0
}

// size reads a count of at most limit.
func (r *reader) size(limit int) int {
	n := r.uleb()
	if n > uint64(limit) {
		r.fail("a count out of bounds")
		return 0
	}
	return int(n)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail("truncated")
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// bytes reads a length and so many bytes.
func (r *reader) bytes(limit int) []byte { return r.take(r.size(min(limit, len(r.b)))) }

func (r *reader) hash() (h Hash) {
	copy(h[:], r.take(len(h)))
	return h
}

// hashes reads hashes.
func (r *reader) hashes(limit int) []Hash {
	n := r.size(min(limit, len(r.b)/len(Hash{})))
	if n == 0 {
		return nil
	}
	out := make([]Hash, n)
	for i := range out {
		out[i] = r.hash()
	}
	return out
}

// ascending reads hashes in order.
func (r *reader) ascending(limit int) []Hash {
	out := r.hashes(limit)
	for i := 1; i < len(out); i++ {
		if string(out[i-1][:]) >= string(out[i][:]) {
			r.fail("hashes out of order")
		}
	}
	return out
}

func (r *reader) actor() string {
	b := r.bytes(maxActor)
	if len(b) == 0 {
		r.fail("an actor without an id")
	}
	return string(b)
}

func (r *reader) done() error {
	if len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	return r.err
}

func appendUleb(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func appendSleb(b []byte, n int64) []byte {
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func ulebLen(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

func appendBytes(b, s []byte) []byte { return append(appendUleb(b, uint64(len(s))), s...) }
func appendText(b []byte, s string) []byte {
	return append(appendUleb(b, uint64(len(s))), s...)
}
