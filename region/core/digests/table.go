// Package digests keeps the digests of a store's documents in the store itself,
// up to date with each batch.
package digests

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
)

// A Table has the digests of a store: those of the collections in memory, those
// of the buckets in meta records. It is used by one goroutine, the owner's: a
// step begins with Begin and ends with Finish, which puts what has changed into
// the step's batch.
type Table struct {
	reader      store.Reader
	total       digest.Digest
	collections map[crdt.Dot]digest.Digest
	// buckets are those that were used lately, dirty those that the store does
	// not have like that yet.
	buckets map[bucketKey]digest.Digest
	dirty   map[bucketKey]struct{}
	batch   *store.Batch
}

type bucketKey struct {
	collection crdt.Dot
	bucket     int
}

// maxCached bounds the buckets in memory, of about 100 bytes each: when there
// are more at the beginning of a step, all are read anew.
const maxCached = 1 << 16

// Prefix is the beginning of the names of the meta records.
const Prefix = "digest/"

const (
	nameSize     = len(Prefix) + 16 + 8 + 2
	bucketFormat = 1
)

func (k bucketKey) name() string {
	b := appendCollection(make([]byte, 0, nameSize), k.collection)
	return string(binary.BigEndian.AppendUint16(b, uint16(k.bucket)))
}

func appendCollection(b []byte, c crdt.Dot) []byte {
	b = append(append(b, Prefix...), c.Replica[:]...)
	return binary.BigEndian.AppendUint64(b, c.Seq)
}

func parseName(name string) (bucketKey, error) {
	if len(name) != nameSize {
		return bucketKey{}, fmt.Errorf("%w: digest under a name of %d bytes", store.ErrCorrupt, len(name))
	}
	b := []byte(name[len(Prefix):])
	k := bucketKey{
		collection: crdt.Dot{Replica: crdt.ReplicaID(b[:16]), Seq: binary.BigEndian.Uint64(b[16:])},
		bucket:     int(binary.BigEndian.Uint16(b[24:])),
	}
	if k.bucket >= digest.Buckets {
		return k, fmt.Errorf("%w: digest of bucket %d", store.ErrCorrupt, k.bucket)
	}
	return k, nil
}

func encodeBucket(d digest.Digest) []byte {
	return d.Append(append(make([]byte, 0, 1+digest.Size), bucketFormat))
}

func decodeBucket(b []byte) (digest.Digest, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); f != bucketFormat {
		return digest.Digest{}, fmt.Errorf("%w: digest of format %d", store.ErrCorrupt, f)
	}
	d := digest.Read(r)
	if err := r.Done(); err != nil {
		return d, fmt.Errorf("%w: digest: %w", store.ErrCorrupt, err)
	}
	return d, nil
}

// Open reads the sums of a store's collections.
func Open(reader store.Reader) (*Table, error) {
	t := &Table{
		reader: reader, collections: map[crdt.Dot]digest.Digest{},
		buckets: map[bucketKey]digest.Digest{}, dirty: map[bucketKey]struct{}{},
	}
	for e, err := range reader.MetaRange(Prefix, "") {
		if err != nil {
			return nil, err
		}
		k, err := parseName(e.Name)
		if err != nil {
			return nil, err
		}
		d, err := decodeBucket(e.Value)
		if err != nil {
			return nil, err
		}
		t.add(k.collection, d)
	}
	return t, nil
}

func (t *Table) add(collection crdt.Dot, d digest.Digest) {
	t.total = t.total.Plus(d)
	t.collections[collection] = t.collections[collection].Plus(d)
}

// Begin starts a step. The digests of earlier steps have to be durable.
func (t *Table) Begin(b *store.Batch) {
	t.batch = b
	clear(t.dirty)
	if len(t.buckets) > maxCached {
		clear(t.buckets)
	}
}

// Replace notes that a document weighs other than before.
func (t *Table) Replace(key store.DocKey, before, after digest.Digest) error {
	if before == after {
		return nil
	}
	k := bucketKey{key.Collection, digest.Bucket(key.ID)}
	d, err := t.bucket(k)
	if err != nil {
		return err
	}
	t.set(k, d, d.Minus(before).Plus(after))
	return nil
}

func (t *Table) set(k bucketKey, before, after digest.Digest) {
	t.buckets[k] = after
	t.dirty[k] = struct{}{}
	c := t.collections[k.collection].Minus(before).Plus(after)
	if t.collections[k.collection] = c; c.IsZero() {
		delete(t.collections, k.collection)
	}
	t.total = t.total.Minus(before).Plus(after)
}

func (t *Table) bucket(k bucketKey) (digest.Digest, error) {
	if d, ok := t.buckets[k]; ok {
		return d, nil
	}
	b, err := t.reader.Meta(k.name())
	if err != nil {
		return digest.Digest{}, err
	}
	var d digest.Digest
	if b != nil {
		if d, err = decodeBucket(b); err != nil {
			return d, err
		}
	}
	t.buckets[k] = d
	return d, nil
}

// Changed is the number of records that Finish will write.
func (t *Table) Changed() int { return len(t.dirty) }

// Finish puts what has changed into the batch.
func (t *Table) Finish() {
	if len(t.dirty) == 0 {
		return
	}
	if t.batch.Meta == nil {
		t.batch.Meta = map[string][]byte{}
	}
	for k := range t.dirty {
		var value []byte
		if d := t.buckets[k]; !d.IsZero() {
			value = encodeBucket(d)
		}
		t.batch.Meta[k.name()] = value
	}
}

// Total is the digest of all documents, those of the system collection included.
func (t *Table) Total() digest.Digest { return t.total }

// A Collection is a collection with the digest of its documents.
type Collection struct {
	Incarnation crdt.Dot
	Digest      digest.Digest
}

// Collections lists the collections that have documents, in order. The
// incarnation of the system collection is zero.
func (t *Table) Collections() []Collection {
	out := make([]Collection, 0, len(t.collections))
	for c, d := range t.collections {
		out = append(out, Collection{c, d})
	}
	slices.SortFunc(out, func(a, b Collection) int { return a.Incarnation.Compare(b.Incarnation) })
	return out
}

// Buckets returns the digests of all buckets of a collection, from the store and
// what has changed since.
func (t *Table) Buckets(collection crdt.Dot) ([]digest.Digest, error) {
	out := make([]digest.Digest, digest.Buckets)
	for e, err := range t.reader.MetaRange(string(appendCollection(nil, collection)), "") {
		if err != nil {
			return nil, err
		}
		k, err := parseName(e.Name)
		if err != nil {
			return nil, err
		}
		if out[k.bucket], err = decodeBucket(e.Value); err != nil {
			return nil, err
		}
	}
	for k := range t.dirty {
		if k.collection == collection {
			out[k.bucket] = t.buckets[k]
		}
	}
	return out, nil
}

// Correct sets the digest of a bucket to what its documents were found to weigh.
func (t *Table) Correct(collection crdt.Dot, bucket int, d digest.Digest) error {
	k := bucketKey{collection, bucket}
	before, err := t.bucket(k)
	if err == nil && before != d {
		t.set(k, before, d)
	}
	return err
}

// Clear removes the digests of documents that are all gone, at most left records
// of the store at a time, and counts those down. Nothing else may have changed
// in the step.
func (t *Table) Clear(left *uint64) error {
	clear(t.buckets)
	clear(t.collections)
	t.total = digest.Digest{}
	for e, err := range t.reader.MetaRange(Prefix, "") {
		if err != nil {
			return err
		}
		if *left == 0 {
			return nil
		}
		*left--
		if t.batch.Meta == nil {
			t.batch.Meta = map[string][]byte{}
		}
		t.batch.Meta[e.Name] = nil
	}
	return nil
}
