// Package digest sums up the documents of a region, so that two regions can tell
// with a few bytes whether they have the same, and find out with a few kilobytes
// where they differ.
//
// Each document that exists weighs in with two hashes: of which versions it
// consists, and of what is in it. The hashes are added, so the order in which
// documents are written does not matter, and a document that changes costs a
// subtraction and an addition. Where two regions have the same sum of versions,
// each document there consists of the same changes in both, and then the sums of
// the contents have to be equal, too, whatever the regions hold otherwise. So
// regions can be compared while writes go on.
//
// The documents of a collection are spread over [Buckets] buckets by their ids.
// Sums of buckets are those of groups, of a collection and of the whole store.
package digest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/meridiandb/meridian/crdt"
)

// How documents are spread.
const (
	// Groups is the number of groups of buckets of a collection.
	Groups = 64
	// GroupBuckets is the number of buckets of a group.
	GroupBuckets = 64
	// Buckets is the number of buckets of a collection.
	Buckets = Groups * GroupBuckets
)

// Size is the length of an encoded Digest at the most.
const Size = binary.MaxVarintLen64 + 8 + 16

// A Digest sums up a set of documents. The zero value is that of no documents.
type Digest struct {
	// Documents is how many there are.
	Documents uint64
	// Versions is the sum of the hashes of their heads.
	Versions uint64
	// Content is the sum of the hashes of their contents.
	Content Sum
}

// A Sum is a sum of hashes modulo 2^128.
type Sum struct{ Hi, Lo uint64 }

func (s Sum) plus(o Sum) Sum {
	lo, carry := bits.Add64(s.Lo, o.Lo, 0)
	hi, _ := bits.Add64(s.Hi, o.Hi, carry)
	return Sum{hi, lo}
}

func (s Sum) minus(o Sum) Sum {
	lo, borrow := bits.Sub64(s.Lo, o.Lo, 0)
	hi, _ := bits.Sub64(s.Hi, o.Hi, borrow)
	return Sum{hi, lo}
}

// Plus is the digest of the documents of both, which have none in common.
func (d Digest) Plus(o Digest) Digest {
	return Digest{d.Documents + o.Documents, d.Versions + o.Versions, d.Content.plus(o.Content)}
}

// Minus is the digest without the documents of o.
func (d Digest) Minus(o Digest) Digest {
	return Digest{d.Documents - o.Documents, d.Versions - o.Versions, d.Content.minus(o.Content)}
}

// IsZero reports whether it is the digest of no documents.
func (d Digest) IsZero() bool { return d == Digest{} }

// SameVersions reports whether both sum up the same versions of the same documents.
func (d Digest) SameVersions(o Digest) bool {
	return d.Documents == o.Documents && d.Versions == o.Versions
}

// String is for people and programs: equal texts, equal digests.
func (d Digest) String() string {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], d.Versions)
	binary.BigEndian.PutUint64(b[8:], d.Content.Hi)
	binary.BigEndian.PutUint64(b[16:], d.Content.Lo)
	return hex.EncodeToString(b[:])
}

// Append appends the encoding.
func (d Digest) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, d.Documents)
	b = binary.BigEndian.AppendUint64(b, d.Versions)
	b = binary.BigEndian.AppendUint64(b, d.Content.Hi)
	return binary.BigEndian.AppendUint64(b, d.Content.Lo)
}

// Read reads what Append wrote. What is missing is zero: see the reader's error.
func Read(r *crdt.Reader) Digest {
	d := Digest{Documents: r.Uvarint()}
	if b := r.Fixed(8 + 16); len(b) == 8+16 {
		d.Versions = binary.BigEndian.Uint64(b)
		d.Content = Sum{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	}
	return d
}

// Of is what one document weighs: nothing if it does not exist. content is the
// digest of its state.
func Of(collection crdt.Dot, id string, heads *crdt.Heads, content [crdt.DigestSize]byte) Digest {
	if !heads.Visible() {
		return Digest{}
	}
	b := make([]byte, 0, 256)
	b = append(b, collection.Replica[:]...)
	b = binary.BigEndian.AppendUint64(b, collection.Seq)
	b = binary.AppendUvarint(b, uint64(len(id)))
	b = append(b, id...)
	n := len(b)
	for _, h := range heads.All() {
		b = append(b, h.Dot.Replica[:]...)
		b = binary.BigEndian.AppendUint64(b, h.Dot.Seq)
	}
	versions := sha256.Sum256(b)
	sum := sha256.Sum256(append(b[:n], content[:]...))
	return Digest{
		Documents: 1,
		Versions:  binary.BigEndian.Uint64(versions[:]),
		Content:   Sum{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])},
	}
}

// Bucket is the number of the bucket that a document is in. That of its group is
// Bucket / GroupBuckets.
func Bucket(id string) int {
	h := sha256.Sum256([]byte(id))
	return int(binary.BigEndian.Uint16(h[:])) % Buckets
}
