// Package backup writes what a store holds at one moment to a stream, and makes
// a store of it again.
//
// # Form
//
//	backup  = magic, header, zstd(frames)
//	magic   = "meridian backup 1\n"
//	header  = length uvarint, JSON of [Header]
//	frame   = length uvarint, kind byte, fields         length counts kind and fields
//
//	'd' collection, id, state    a document; an incremental backup has one without
//	                             a state for a document that is no more
//	'l' dot, chain, change       an entry of the log
//	'm' name, value              a meta record
//	'e' JSON of [Summary]        the end, with a SHA-256 of all before it
//
// A collection and a dot are 16 bytes of replica and 8 of sequence number, an id,
// a chain and a name have their length before them as an uvarint, and the last field takes the rest.
//
// # What is in it
//
// A full backup has all documents, the log, and the meta records. An incremental
// one has the changes since an earlier one, the documents that these touch, and
// the meta records anew: restoring takes the full one and each that followed, in
// order. Older versions of documents, which writes can be based on for a while, are
// not in a backup.
//
// A restored store is a new replica: it takes no writes before it has met a peer
// and holds what that holds, the changes included that the store had made after
// the backup and lost (I2).
package backup

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// Format is the version of the format.
const Format = 1

const magicPrefix = "meridian backup "

var magic = fmt.Sprintf("%s%d\n", magicPrefix, Format)

// Bounds of a backup. A reader refuses what is beyond them.
const (
	maxHeaderBytes = 1 << 20
	maxFrameBytes  = store.MaxValueBytes + store.MaxNameBytes + 1<<10
	// MaxTouched is how many documents an incremental backup can have: they are
	// kept in mind while it is made. A full backup has no such bound.
	MaxTouched = 2_000_000
)

// Errors of backups.
var (
	// ErrNotABackup: the file is something else.
	ErrNotABackup = errors.New("not a backup of Meridian")
	// ErrNewerFormat: the backup was made by a later version.
	ErrNewerFormat = errors.New("the backup has a newer format")
	// ErrDamaged: the backup is not whole, or not what was written.
	ErrDamaged = errors.New("the backup is damaged or incomplete")
	// ErrWrongOrder: the backups do not follow on each other.
	ErrWrongOrder = errors.New("the backups do not follow on each other")
	// ErrSince: there can be no backup since the earlier one; make a full one.
	ErrSince = errors.New("no incremental backup is possible, make a full one")
)

// The kinds of frames.
const (
	kindDoc  = 'd'
	kindLog  = 'l'
	kindMeta = 'm'
	kindEnd  = 'e'
)

// A Header says what a backup is of.
type Header struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Cluster string    `json:"cluster"`
	Region  string    `json:"region"`
	// Have is the vector of the moment.
	Have Vector `json:"have"`
	// Base is the id of the backup that this one follows on, and Since its vector;
	// a full backup has none.
	Base  string `json:"base,omitempty"`
	Since Vector `json:"since,omitempty"`
}

// Full reports whether the backup stands alone.
func (h *Header) Full() bool { return h.Base == "" }

// Position is the vector of the backup in a form that fits into a URL, for an
// incremental one that follows on it.
func (h *Header) Position() string {
	b, _ := h.Have.Vector().AppendBinary(nil) // it has no error to return
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParsePosition reads what Position writes.
func ParsePosition(s string) (crdt.Vector, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return crdt.Vector{}, err
	}
	v, rest, err := crdt.DecodeVector(b)
	if err == nil && len(rest) > 0 {
		err = crdt.ErrCorrupt
	}
	return v, err
}

// A Vector is a version vector as JSON.
type Vector map[crdt.ReplicaID]uint64

// VectorOf converts a vector.
func VectorOf(v crdt.Vector) Vector {
	out := Vector{}
	for r, seq := range v.All() {
		out[r] = seq
	}
	return out
}

// Vector converts back.
func (v Vector) Vector() crdt.Vector {
	dots := make([]crdt.Dot, 0, len(v))
	for r, seq := range v {
		if seq > 0 {
			dots = append(dots, crdt.Dot{Replica: r, Seq: seq})
		}
	}
	return crdt.VectorOf(dots...)
}

// A Summary counts what is in a backup.
type Summary struct {
	Documents uint64 `json:"documents"`
	Changes   uint64 `json:"changes"`
	Records   uint64 `json:"records"`
	// Bytes are those of all that, before compression.
	Bytes uint64 `json:"bytes"`
	// SHA256 is the checksum of the header and of all frames before the end.
	SHA256 string `json:"sha256,omitempty"`
}

func (s *Summary) count(kind byte, bytes int) {
	switch kind {
	case kindDoc:
		s.Documents++
	case kindLog:
		s.Changes++
	case kindMeta:
		s.Records++
	}
	s.Bytes += uint64(bytes)
}

func appendDot(b []byte, d crdt.Dot) []byte {
	return binary.BigEndian.AppendUint64(append(b, d.Replica[:]...), d.Seq)
}

func readDot(r *crdt.Reader) crdt.Dot {
	d := crdt.Dot{Replica: r.Replica()}
	if b := r.Fixed(8); len(b) == 8 {
		d.Seq = binary.BigEndian.Uint64(b)
	}
	return d
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendHeader(h *Header) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := append([]byte(magic), binary.AppendUvarint(nil, uint64(len(text)))...)
	return append(b, text...), nil
}
