// Package digests keeps the digests of a store's documents in the store itself,
// up to date with each batch.
package digests

import (
	"cmp"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
)

// A Table has the digests of a store. It is used by one goroutine, the owner's: a
// step begins with Begin and ends with Finish, which puts what has changed into
// the step's batch.
//
// A batch writes one record, whatever it changes: the journal, with the new digests
// of the buckets that changed. Its records are used in turn. When all were, or many
// groups of buckets have changed, a batch writes these groups, each a record, and
// the journal begins anew: a checkpoint.
type Table struct {
	reader      store.Reader
	total       digest.Digest
	collections map[crdt.Dot]digest.Digest
	// groups are those that were used lately; those in unsaved have changed since
	// the checkpoint.
	groups  map[groupKey]*group
	unsaved map[groupKey]struct{}
	// changed are the buckets of the step.
	changed map[bucketKey]struct{}
	batch   *store.Batch
	// batches is how many batches have changed anything, saved up to which of
	// them the groups' records are.
	batches, saved uint64
}

// A group is the digests of the buckets of a group.
type group [digest.GroupBuckets]digest.Digest

type groupKey struct {
	collection crdt.Dot
	group      int
}

type bucketKey struct {
	groupKey
	bucket int // within the group
}

func keyOf(collection crdt.Dot, bucket int) bucketKey {
	return bucketKey{groupKey{collection, bucket / digest.GroupBuckets}, bucket % digest.GroupBuckets}
}

const (
	// maxCached bounds the groups in memory, of 2.5 KB each, beside those that
	// are not saved.
	maxCached = 1024
	// journalRecords is how many records the journal has.
	journalRecords = 256
	// maxUnsaved is how many groups have to have changed for a checkpoint, and
	// maxJournalled how many buckets of one batch.
	maxUnsaved    = 256
	maxJournalled = 2048
)

// Open reads the digests of a store.
func Open(reader store.Reader) (*Table, error) {
	t := &Table{
		reader: reader, collections: map[crdt.Dot]digest.Digest{}, groups: map[groupKey]*group{},
		unsaved: map[groupKey]struct{}{}, changed: map[bucketKey]struct{}{},
	}
	for e, err := range reader.MetaRange(groupPrefix, "") {
		if err != nil {
			return nil, err
		}
		k, g, err := decodeGroup(e)
		if err != nil {
			return nil, err
		}
		for _, d := range g {
			t.add(k.collection, digest.Digest{}, d)
		}
	}
	record, err := reader.Meta(savedName)
	if err == nil && record != nil {
		t.saved, err = decodeSaved(record)
	}
	if err != nil {
		return nil, err
	}
	t.batches = t.saved
	journal, err := t.journal()
	if err != nil {
		return nil, err
	}
	for _, j := range journal {
		t.batches = j.batch
		for _, c := range j.changes {
			if err := t.set(c.key, c.digest); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// journal reads what was written since the checkpoint, in order.
func (t *Table) journal() ([]journalled, error) {
	var journal []journalled
	for e, err := range t.reader.MetaRange(journalPrefix, "") {
		if err != nil {
			return nil, err
		}
		j, err := decodeJournal(e.Value)
		if err != nil {
			return nil, err
		}
		if j.batch > t.saved {
			journal = append(journal, j)
		}
	}
	slices.SortFunc(journal, func(a, b journalled) int { return cmp.Compare(a.batch, b.batch) })
	return journal, nil
}

func (t *Table) add(collection crdt.Dot, before, after digest.Digest) {
	t.total = t.total.Minus(before).Plus(after)
	c := t.collections[collection].Minus(before).Plus(after)
	if t.collections[collection] = c; c.IsZero() {
		delete(t.collections, collection)
	}
}

// Begin starts a step. The digests of earlier steps have to be durable.
func (t *Table) Begin(b *store.Batch) {
	t.batch = b
	clear(t.changed)
	if len(t.groups) > maxCached+len(t.unsaved) {
		for k := range t.groups {
			if _, ok := t.unsaved[k]; !ok {
				delete(t.groups, k)
			}
		}
	}
}

// Replace notes that a document weighs other than before.
func (t *Table) Replace(key store.DocKey, before, after digest.Digest) error {
	if before == after {
		return nil
	}
	k := keyOf(key.Collection, digest.Bucket(key.ID))
	g, err := t.group(k.groupKey)
	if err != nil {
		return err
	}
	return t.set(k, g[k.bucket].Minus(before).Plus(after))
}

func (t *Table) set(k bucketKey, after digest.Digest) error {
	g, err := t.group(k.groupKey)
	if err != nil {
		return err
	}
	t.add(k.collection, g[k.bucket], after)
	g[k.bucket] = after
	t.unsaved[k.groupKey] = struct{}{}
	t.changed[k] = struct{}{}
	return nil
}

func (t *Table) group(k groupKey) (*group, error) {
	if g, ok := t.groups[k]; ok {
		return g, nil
	}
	g := new(group)
	b, err := t.reader.Meta(k.name())
	if err == nil && b != nil {
		_, g, err = decodeGroup(store.MetaEntry{Name: k.name(), Value: b})
	}
	if err != nil {
		return nil, err
	}
	t.groups[k] = g
	return g, nil
}

// Finish puts what has changed into the batch.
func (t *Table) Finish() {
	if len(t.changed) == 0 {
		return
	}
	if t.batch.Meta == nil {
		t.batch.Meta = map[string][]byte{}
	}
	t.batches++
	if len(t.changed) <= maxJournalled && len(t.unsaved) <= maxUnsaved && t.batches-t.saved <= journalRecords {
		t.batch.Meta[journalName(t.batches)] = t.encodeJournal()
		return
	}
	for k := range t.unsaved {
		t.batch.Meta[k.name()] = t.groups[k].encode()
	}
	t.batch.Meta[savedName] = encodeSaved(t.batches)
	t.saved = t.batches
	clear(t.unsaved)
}

// Total is the digest of all documents, those of the system collection included.
func (t *Table) Total() digest.Digest { return t.total }

// Of is the digest of a collection's documents.
func (t *Table) Of(collection crdt.Dot) digest.Digest { return t.collections[collection] }

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

// Buckets returns the digests of the buckets of a collection by their numbers,
// those that are zero left out, from the store and what has changed since.
func (t *Table) Buckets(collection crdt.Dot) (map[int]digest.Digest, error) {
	out := map[int]digest.Digest{}
	put := func(n int, g *group) {
		for i, d := range g {
			if n := n*digest.GroupBuckets + i; !d.IsZero() {
				out[n] = d
			} else if len(out) > 0 {
				delete(out, n)
			}
		}
	}
	for e, err := range t.reader.MetaRange(string(appendCollection(nil, collection)), "") {
		if err != nil {
			return nil, err
		}
		k, g, err := decodeGroup(e)
		if err != nil {
			return nil, err
		}
		put(k.group, g)
	}
	for k := range t.unsaved {
		if k.collection == collection {
			put(k.group, t.groups[k])
		}
	}
	return out, nil
}

// Differ returns the numbers of the buckets whose digests differ, in order.
func Differ(a, b map[int]digest.Digest) []int {
	var out []int
	for i, d := range a {
		if d != b[i] {
			out = append(out, i)
		}
	}
	for i, d := range b {
		if _, both := a[i]; !both && !d.IsZero() {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// Correct sets the digest of a bucket to what its documents were found to weigh.
func (t *Table) Correct(collection crdt.Dot, bucket int, d digest.Digest) error {
	k := keyOf(collection, bucket)
	g, err := t.group(k.groupKey)
	if err != nil || g[k.bucket] == d {
		return err
	}
	return t.set(k, d)
}

// Clear removes the digests of documents that are all gone, those of all collections
// but some: at most left records of the store at a time, which it counts down. Nothing
// else may have changed in the step.
func (t *Table) Clear(keep []crdt.Dot, left *uint64) error {
	kept := func(collection crdt.Dot) bool { return slices.Contains(keep, collection) }
	if t.batch.Meta == nil {
		t.batch.Meta = map[string][]byte{}
	}
	if len(t.unsaved) > 0 {
		// The journal has what goes with what stays: a checkpoint ends it.
		for k := range t.unsaved {
			if kept(k.collection) {
				t.batch.Meta[k.name()] = t.groups[k].encode()
				*left -= min(*left, 1)
			}
		}
		t.batch.Meta[savedName] = encodeSaved(t.batches)
		*left -= min(*left, 1)
		t.saved = t.batches
		clear(t.unsaved)
	}
	maps.DeleteFunc(t.groups, func(k groupKey, _ *group) bool { return !kept(k.collection) })
	maps.DeleteFunc(t.collections, func(c crdt.Dot, d digest.Digest) bool {
		if !kept(c) {
			t.total = t.total.Minus(d)
		}
		return !kept(c)
	})
	for e, err := range t.reader.MetaRange(groupPrefix, "") {
		if err != nil {
			return err
		}
		k, err := parseGroupName(e.Name)
		if err != nil {
			return err
		}
		if kept(k.collection) {
			continue
		}
		if *left == 0 {
			return nil
		}
		*left--
		t.batch.Meta[e.Name] = nil
	}
	return nil
}
