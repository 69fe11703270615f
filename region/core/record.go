package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/document"
	"github.com/meridiandb/meridian/crdt/register"
)

// ErrDamaged says that a stored document is not what was written.
var ErrDamaged = errors.New("the stored document is damaged")

// A record is a stored document: a checksum of all that follows, the type, the
// count of older versions saved, the digest of the state, and the state's own
// encoding.
type record struct {
	state crdt.State
	saved uint64
	// content is the state's digest, zero in older versions.
	content [crdt.DigestSize]byte
}

const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *record) append(b []byte) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, checksumSize)...)
	b = append(b, byte(r.state.Type()))
	b = binary.AppendUvarint(b, r.saved)
	b = append(b, r.content[:]...)
	b, err := r.state.AppendBinary(b)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b[start:], crc32.Checksum(b[start+checksumSize:], castagnoli))
	return b, nil
}

// checkRecord compares a stored document with its checksum.
func checkRecord(b []byte) error {
	if len(b) < checksumSize || binary.BigEndian.Uint32(b) != crc32.Checksum(b[checksumSize:], castagnoli) {
		return fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	return nil
}

func decodeRecord(b []byte) (record, error) {
	var rec record
	if err := checkRecord(b); err != nil {
		return rec, err
	}
	r := crdt.NewReader(b[checksumSize:])
	t := crdt.Type(r.Byte())
	rec.saved = r.Uvarint()
	copy(rec.content[:], r.Fixed(crdt.DigestSize))
	err := r.Err()
	if err == nil {
		rec.state, err = decodeState(t, r.Rest())
	}
	if err != nil {
		return rec, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return rec, nil
}

func decodeState(t crdt.Type, b []byte) (crdt.State, error) {
	switch t {
	case crdt.TypeDocument:
		return document.Decode(b)
	case crdt.TypeRegister:
		return register.Decode(b)
	case crdt.TypeAutomerge:
		return automerge.Decode(b)
	default:
		return nil, fmt.Errorf("%w: unknown type %v", crdt.ErrCorrupt, t)
	}
}

// DecodeDocument reads a document as the store keeps it. The error wraps
// ErrDamaged.
func DecodeDocument(record []byte) (crdt.State, error) {
	r, err := decodeRecord(record)
	return r.state, err
}

// PeekAutomerge reads a document of type automerge as the store keeps it, without
// making sure that it loads. The error wraps ErrDamaged.
func PeekAutomerge(b []byte) (*automerge.State, error) {
	if err := checkRecord(b); err != nil {
		return nil, err
	}
	r := crdt.NewReader(b[checksumSize:])
	t := crdt.Type(r.Byte())
	r.Uvarint()
	r.Fixed(crdt.DigestSize)
	if r.Err() == nil && t != crdt.TypeAutomerge {
		r.Fail("a document of another type")
	}
	err := r.Err()
	var s *automerge.State
	if err == nil {
		s, err = automerge.Peek(r.Rest())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s, nil
}

// exact encodes into room that is used again, and returns a copy without slack:
// it is kept, with thousands of others.
func (c *Core) exact(encode func(b []byte) ([]byte, error)) ([]byte, error) {
	b, err := encode(c.scratch[:0])
	if err != nil {
		return nil, err
	}
	if cap(b) <= maxScratch {
		c.scratch = b
	}
	return bytes.Clone(b), nil
}

// maxScratch is the largest room that is used again.
const maxScratch = 1 << 20
