// Package record is the form of a store's records: ordered binary keys, and
// values. Both stores share it, so that both scan in the same order.
//
//	m name                                 meta      value
//	d incarnation id                       document  state
//	l replica seq                          log       chain change, or as a store has it
//	v incarnation len(id) id slot          version   expires len(tag) tag state
//
// An incarnation is a dot: 16 bytes of replica, 8 of sequence number. Numbers in
// keys are big endian and of fixed width.
package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// The kinds of record: the first byte of a key. Bytes from KindOwn on are free
// for what an implementation keeps for itself.
const (
	kindMeta    = 'm'
	kindDoc     = 'd'
	kindLog     = 'l'
	kindVersion = 'v'
	KindOwn     = 'w'
)

const (
	dotSize     = 24
	expiresSize = 8
)

// An Op writes or removes one record.
type Op struct {
	Key    []byte
	Value  []byte
	Remove bool
	// Expires is when a version is dropped; zero means never.
	Expires time.Time
	// Mark is a hash of a version's tag, 0 for other records: it spares a
	// search for a tag from reading values.
	Mark byte
}

func appendDot(b []byte, d crdt.Dot) []byte {
	b = append(b, d.Replica[:]...)
	return binary.BigEndian.AppendUint64(b, d.Seq)
}

// AppendMetaKey appends the key of a meta record; with a prefix of a name, the
// prefix of keys.
func AppendMetaKey(b []byte, name string) []byte { return append(append(b, kindMeta), name...) }

// MetaStart is where a scan of meta records begins.
func MetaStart(prefix, after string) []byte {
	if after == "" || after < prefix {
		return AppendMetaKey(nil, prefix)
	}
	return append(AppendMetaKey(nil, after), 0)
}

// MetaName is the inverse of AppendMetaKey.
func MetaName(key []byte) string { return string(key[1:]) }

// AppendDocKey appends the key of a document; with a prefix of an id, the prefix of keys.
func AppendDocKey(b []byte, k store.DocKey) []byte {
	return append(appendDot(append(b, kindDoc), k.Collection), k.ID...)
}

// DocID is the id in a document's key.
func DocID(key []byte) string { return string(key[1+dotSize:]) }

// AppendLogKey appends the key of a log entry.
func AppendLogKey(b []byte, d crdt.Dot) []byte { return appendDot(append(b, kindLog), d) }

// AppendLogPrefix appends the prefix of the keys of a replica's log.
func AppendLogPrefix(b []byte, r crdt.ReplicaID) []byte {
	return append(append(b, kindLog), r[:]...)
}

// LogDot is the dot in a log entry's key.
func LogDot(key []byte) crdt.Dot {
	return crdt.Dot{
		Replica: crdt.ReplicaID(key[1:17]),
		Seq:     binary.BigEndian.Uint64(key[17:25]),
	}
}

// AppendVersionPrefix appends the prefix of the keys of a document's older versions.
func AppendVersionPrefix(b []byte, k store.DocKey) []byte {
	b = appendDot(append(b, kindVersion), k.Collection)
	b = binary.BigEndian.AppendUint16(b, uint16(len(k.ID)))
	return append(b, k.ID...)
}

func appendVersionKey(b []byte, v *store.VersionPut) []byte {
	return binary.BigEndian.AppendUint32(AppendVersionPrefix(b, v.Key), v.Slot)
}

// Mark is the hash of a version's tag that an Op carries.
func Mark(tag string) byte {
	return byte(crc32.Checksum([]byte(tag), castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendVersion(b []byte, v *store.VersionPut) []byte {
	b = binary.BigEndian.AppendUint64(b, expiryMillis(v.Expires))
	b = binary.AppendUvarint(b, uint64(len(v.Tag)))
	b = append(b, v.Tag...)
	return append(b, v.State...)
}

func expiryMillis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMilli(), 1))
}

// Version returns the state in a version's value if it was kept under tag and
// has not expired; otherwise ok is false. The state shares the value's memory.
func Version(value []byte, tag string, now time.Time) (state []byte, ok bool, err error) {
	if len(value) < expiresSize {
		return nil, false, fmt.Errorf("%w: version of %d bytes", store.ErrCorrupt, len(value))
	}
	expires := binary.BigEndian.Uint64(value)
	value = value[expiresSize:]
	n, k := binary.Uvarint(value)
	if k <= 0 || n > uint64(len(value)-k) {
		return nil, false, fmt.Errorf("%w: version with a bad tag", store.ErrCorrupt)
	}
	if string(value[k:k+int(n)]) != tag {
		return nil, false, nil
	}
	if expires != 0 && expires <= expiryMillis(now) {
		return nil, false, nil
	}
	return value[k+int(n):], true, nil
}

// Log splits a log entry's value. The change shares the value's memory.
func Log(value []byte) (chain [store.ChainSize]byte, change []byte, err error) {
	if len(value) < store.ChainSize {
		return chain, nil, fmt.Errorf("%w: log entry of %d bytes", store.ErrCorrupt, len(value))
	}
	return [store.ChainSize]byte(value), value[store.ChainSize:], nil
}

// Ops returns what a checked batch does but for the log, in the order in which it
// counts. Values may share the batch's memory.
func Ops(b *store.Batch) []Op {
	size, records := layout(b)
	ops := make([]Op, 0, records)
	// One buffer for all keys and the values that must be put together. It is
	// never grown, so that what was cut from it stays.
	buf := make([]byte, 0, size)
	take := func(from int) []byte { return buf[from:len(buf):len(buf)] }

	for i := range b.Docs {
		d := &b.Docs[i]
		at := len(buf)
		buf = AppendDocKey(buf, d.Key)
		ops = append(ops, Op{Key: take(at), Value: d.State, Remove: d.State == nil})
	}
	for i := range b.Versions {
		v := &b.Versions[i]
		at := len(buf)
		buf = appendVersionKey(buf, v)
		key := take(at)
		at = len(buf)
		buf = appendVersion(buf, v)
		ops = append(ops, Op{Key: key, Value: take(at), Expires: v.Expires, Mark: Mark(v.Tag)})
	}
	for name, value := range b.Meta {
		at := len(buf)
		buf = AppendMetaKey(buf, name)
		ops = append(ops, Op{Key: take(at), Value: value, Remove: value == nil})
	}
	return ops
}

// LogOps returns what a checked batch does to the log, a record for each entry, in
// the order in which it counts.
func LogOps(b *store.Batch) []Op {
	ops := make([]Op, 0, len(b.Log))
	for i := range b.Log {
		l := &b.Log[i]
		value := append(append(make([]byte, 0, store.ChainSize+len(l.Change)), l.Chain[:]...), l.Change...)
		ops = append(ops, Op{Key: AppendLogKey(nil, l.Dot), Value: value})
	}
	for _, s := range b.TrimLog {
		for n, seq := spanLen(s), s.From; n > 0; n, seq = n-1, seq+1 {
			ops = append(ops, Op{Key: AppendLogKey(nil, crdt.Dot{Replica: s.Replica, Seq: seq}), Remove: true})
		}
	}
	return ops
}

// spanLen does not overflow for the spans of a checked batch.
func spanLen(s crdt.Span) int {
	if s.To < s.From {
		return 0
	}
	return int(s.To-s.From) + 1
}

// layout sums the keys and the values that Ops puts together.
func layout(b *store.Batch) (size, records int) {
	for i := range b.Docs {
		size += 1 + dotSize + len(b.Docs[i].Key.ID)
	}
	for i := range b.Versions {
		v := &b.Versions[i]
		size += 1 + dotSize + 2 + len(v.Key.ID) + 4
		size += expiresSize + binary.MaxVarintLen64 + len(v.Tag) + len(v.State)
	}
	for name := range b.Meta {
		size += 1 + len(name)
	}
	return size, len(b.Docs) + len(b.Versions) + len(b.Meta)
}

// DocsStart is the key from which a scan of documents under prefix and after an
// id begins.
func DocsStart(collection crdt.Dot, prefix, after string) []byte {
	if after == "" || after < prefix {
		return AppendDocKey(nil, store.DocKey{Collection: collection, ID: prefix})
	}
	return append(AppendDocKey(nil, store.DocKey{Collection: collection, ID: after}), 0)
}
