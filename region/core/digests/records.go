package digests

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
)

// The meta records of a table:
//
//	digest/g collection group   the digests of a group's buckets
//	digest/j n                  a record of the journal: which batch, and per collection
//	                            how many buckets, of each its number and digest
//	digest/s                    the last batch that the groups have
const (
	// Prefix is the beginning of all their names.
	Prefix        = "digest/"
	groupPrefix   = Prefix + "g"
	journalPrefix = Prefix + "j"
	savedName     = Prefix + "s"

	groupNameSize = len(groupPrefix) + 16 + 8 + 1
	recordFormat  = 2
)

func appendCollection(b []byte, c crdt.Dot) []byte {
	b = append(append(b, groupPrefix...), c.Replica[:]...)
	return binary.BigEndian.AppendUint64(b, c.Seq)
}

func (k groupKey) name() string {
	return string(append(appendCollection(make([]byte, 0, groupNameSize), k.collection), byte(k.group)))
}

func journalName(batch uint64) string { return journalPrefix + string(byte(batch%journalRecords)) }

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
		r.Fail(fmt.Sprintf("format %d is not known here", f))
	}
	return r
}

func done(r *crdt.Reader) error {
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: digests: %w", store.ErrCorrupt, err)
	}
	return nil
}

// encode returns nil for a group without documents, which has no record.
func (g *group) encode() []byte {
	if *g == (group{}) {
		return nil
	}
	b := []byte{recordFormat}
	for _, d := range g {
		b = appendDigest(b, d)
	}
	return b
}

func decodeGroup(e store.MetaEntry) (groupKey, *group, error) {
	k, err := parseGroupName(e.Name)
	if err != nil {
		return k, nil, err
	}
	r := newReader(e.Value)
	g := new(group)
	for i := range g {
		g[i] = readDigest(r)
	}
	return k, g, done(r)
}

func encodeSaved(batch uint64) []byte { return binary.AppendUvarint([]byte{recordFormat}, batch) }

func decodeSaved(b []byte) (uint64, error) {
	r := newReader(b)
	batch := r.Uvarint()
	return batch, done(r)
}

// A journalled is a record of the journal: what a batch has changed.
type journalled struct {
	batch   uint64
	changes []change
}

type change struct {
	key    bucketKey
	digest digest.Digest
}

func (t *Table) encodeJournal() []byte {
	byCollection := map[crdt.Dot][]bucketKey{}
	for k := range t.changed {
		byCollection[k.collection] = append(byCollection[k.collection], k)
	}
	b := binary.AppendUvarint(append(make([]byte, 0, 64+len(t.changed)*(digest.Size+3)), recordFormat), t.batches)
	b = binary.AppendUvarint(b, uint64(len(byCollection)))
	for _, c := range slices.SortedFunc(maps.Keys(byCollection), crdt.Dot.Compare) {
		keys := byCollection[c]
		slices.SortFunc(keys, func(x, y bucketKey) int { return x.number() - y.number() })
		b = binary.BigEndian.AppendUint64(append(b, c.Replica[:]...), c.Seq)
		b = binary.AppendUvarint(b, uint64(len(keys)))
		for _, k := range keys {
			b = binary.BigEndian.AppendUint16(b, uint16(k.number()))
			b = appendDigest(b, t.groups[k.groupKey][k.bucket])
		}
	}
	return b
}

// number is that of the bucket within the collection.
func (k bucketKey) number() int { return k.group*digest.GroupBuckets + k.bucket }

func decodeJournal(b []byte) (journalled, error) {
	r := newReader(b)
	j := journalled{batch: r.Uvarint()}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		var c crdt.Dot
		c.Replica = r.Replica()
		if seq := r.Fixed(8); len(seq) == 8 {
			c.Seq = binary.BigEndian.Uint64(seq)
		}
		for m := r.Uvarint(); m > 0 && r.Err() == nil; m-- {
			number := r.Fixed(2)
			if len(number) < 2 {
				break
			}
			bucket := int(binary.BigEndian.Uint16(number))
			if bucket >= digest.Buckets {
				r.Fail("a bucket that is not there")
				break
			}
			j.changes = append(j.changes, change{keyOf(c, bucket), readDigest(r)})
		}
	}
	return j, done(r)
}
