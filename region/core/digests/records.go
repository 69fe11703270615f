package digests

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
)

// The meta records of a table:
//
//	digest/g collection group   the digests of a group's buckets
//	digest/j n                  a record of the journal: which batch, up to which one the journal
//	                            is not needed, the groups that are saved, and per collection
//	                            how many buckets, of each its number and digest
//	digest/s                    the batch up to which the journal was not needed when the
//	                            table was cleared, or by an earlier version
const (
	// Prefix is the beginning of all their names.
	Prefix        = "digest/"
	groupPrefix   = Prefix + "g"
	journalPrefix = Prefix + "j"
	savedName     = Prefix + "s"

	groupNameSize = len(groupPrefix) + 16 + 8 + 1
	recordFormat  = 2
	// A journal of an earlier version has one byte for n, and does not say what is saved.
	journalFormat    = 3
	oldJournalFormat = 2
)

func appendCollection(b []byte, c crdt.Dot) []byte {
	return appendDot(append(b, groupPrefix...), c)
}

func (k groupKey) name() string {
	return string(append(appendCollection(make([]byte, 0, groupNameSize), k.collection), byte(k.group)))
}

func journalName(n uint64) string {
	return string(binary.BigEndian.AppendUint16([]byte(journalPrefix), uint16(n)))
}

func parseGroupName(name string) (groupKey, error) {
	if len(name) != groupNameSize {
		return groupKey{}, fmt.Errorf("%w: digests under a name of %d bytes", store.ErrCorrupt, len(name))
	}
	b := []byte(name[len(groupPrefix):])
	k := groupKey{crdt.Dot{Replica: crdt.ReplicaID(b[:16]), Seq: binary.BigEndian.Uint64(b[16:])}, int(b[24])}
	if k.group >= digest.Groups {
		return k, fmt.Errorf("%w: digests of group %d", store.ErrCorrupt, k.group)
	}
	return k, nil
}

// appendDigest writes nothing but a zero of the digest of no documents.
func appendDigest(b []byte, d digest.Digest) []byte {
	if d.IsZero() {
		return append(b, 0)
	}
	return d.Append(append(b, 1))
}

func readDigest(r *crdt.Reader) digest.Digest {
	if r.Byte() == 0 {
		return digest.Digest{}
	}
	return digest.Read(r)
}

func newReader(b []byte) *crdt.Reader {
	r := crdt.NewReader(b)
	if f := r.Byte(); r.Err() == nil && f != recordFormat {
		r.Fail(unknownFormat(f))
	}
	return r
}

func unknownFormat(f byte) string { return fmt.Sprintf("format %d is not known here", f) }

func done(r *crdt.Reader) error {
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: digests: %w", store.ErrCorrupt, err)
	}
	return nil
}

// encode returns nil for a group without documents, which has no record.
func (g *group) encode() []byte {
	if g.digests == ([digest.GroupBuckets]digest.Digest{}) {
		return nil
	}
	b := append(make([]byte, 0, 1+len(g.digests)*(1+digest.Size)), recordFormat)
	for _, d := range g.digests {
		b = appendDigest(b, d)
	}
	return b
}

func decodeGroup(e store.MetaEntry) (*group, error) {
	k, err := parseGroupName(e.Name)
	if err != nil {
		return nil, err
	}
	r := newReader(e.Value)
	g := &group{key: k}
	for i := range g.digests {
		g.digests[i] = readDigest(r)
	}
	return g, done(r)
}

func encodeSaved(batch uint64) []byte { return binary.AppendUvarint([]byte{recordFormat}, batch) }

func decodeSaved(b []byte) (uint64, error) {
	r := newReader(b)
	batch := r.Uvarint()
	return batch, done(r)
}

// A journalled is a record of the journal: what a batch has changed and saved.
type journalled struct {
	batch, saved uint64
	groups       []groupKey
	changes      []change
}

type change struct {
	collection crdt.Dot
	bucket     int
	digest     digest.Digest
}

func (c change) group() groupKey { return groupOf(c.collection, c.bucket) }

// encodeJournal makes the record of the step, of what has changed, in order, and the groups
// that are saved.
func (t *Table) encodeJournal(groups []*group) []byte {
	b := make([]byte, 0, journalSizeOf(len(groups), len(t.changed)))
	b = append(b, journalFormat)
	b = binary.AppendUvarint(b, t.batches)
	b = binary.AppendUvarint(b, t.saved())
	b = binary.AppendUvarint(b, uint64(len(groups)))
	for _, g := range groups {
		b = append(appendDot(b, g.key.collection), byte(g.key.group))
	}
	for left := t.changed; len(left) > 0; {
		c := left[0].key.collection
		n := slices.IndexFunc(left, func(b bucket) bool { return b.key.collection != c })
		if n < 0 {
			n = len(left)
		}
		b = binary.AppendUvarint(appendDot(b, c), uint64(n))
		for _, x := range left[:n] {
			b = binary.BigEndian.AppendUint16(b, uint16(x.number()))
			b = appendDigest(b, x.digests[x.place])
		}
		left = left[n:]
	}
	return b
}

// journalSizeOf is about how long a record of the journal is.
func journalSizeOf(groups, changes int) int {
	return 64 + groups*(dotSize+1) + changes*(2+1+digest.Size)
}

const dotSize = 16 + 8

func appendDot(b []byte, c crdt.Dot) []byte {
	return binary.BigEndian.AppendUint64(append(b, c.Replica[:]...), c.Seq)
}

func readDot(r *crdt.Reader) crdt.Dot {
	c := crdt.Dot{Replica: r.Replica()}
	if seq := r.Fixed(8); len(seq) == 8 {
		c.Seq = binary.BigEndian.Uint64(seq)
	}
	return c
}

func decodeJournal(b []byte) (journalled, error) {
	r := crdt.NewReader(b)
	var j journalled
	switch f := r.Byte(); f {
	case journalFormat:
		j.batch, j.saved = r.Uvarint(), r.Uvarint()
		for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
			k := groupKey{readDot(r), int(r.Byte())}
			if k.group >= digest.Groups {
				r.Fail("a group that is not there")
			}
			j.groups = append(j.groups, k)
		}
		for len(r.Rest()) > 0 && r.Err() == nil {
			j.readChanges(r)
		}
	case oldJournalFormat:
		j.batch = r.Uvarint()
		for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
			j.readChanges(r)
		}
	default:
		r.Fail(unknownFormat(f))
	}
	return j, done(r)
}

// readChanges reads those of one collection.
func (j *journalled) readChanges(r *crdt.Reader) {
	c := readDot(r)
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		number := r.Fixed(2)
		if r.Err() != nil {
			return
		}
		bucket := int(binary.BigEndian.Uint16(number))
		if bucket >= digest.Buckets {
			r.Fail("a bucket that is not there")
			return
		}
		j.changes = append(j.changes, change{c, bucket, readDigest(r)})
	}
}
