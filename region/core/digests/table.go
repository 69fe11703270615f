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
// A group of buckets is a record, which is saved long after it has changed, and then with
// all that has changed in it meanwhile. Until then the journal has that: each batch that
// changes anything adds a record to it, with the new digests of the buckets that it changes
// and the groups that it saves. The journal is a ring. Before it overwrites a record, or
// has more changes than it may, the groups that changed first are saved.
type Table struct {
	limits      limits
	reader      store.Reader
	total       digest.Digest
	collections map[crdt.Dot]digest.Digest
	// groups are those that were used lately, among them the unsaved ones, which are in
	// the order in which they changed.
	groups  map[groupKey]*group
	unsaved []*group
	// changed are the buckets of the step; one may be there several times.
	changed []bucket
	batch   *store.Batch
	// batches is how many batches have changed anything.
	batches uint64
	// journal are the records of the journal that are needed, in order, and journalled is how
	// many changes they have.
	journal    []journalSize
	journalled int
}

// A group is the digests of the buckets of a group.
type group struct {
	key     groupKey
	digests [digest.GroupBuckets]digest.Digest
	// since is the batch that changed it first since it was saved, 0 if none has.
	since uint64
}

type groupKey struct {
	collection crdt.Dot
	group      int
}

func groupOf(collection crdt.Dot, bucket int) groupKey {
	return groupKey{collection, bucket / digest.GroupBuckets}
}

// A bucket is one of a group, by its place in it.
type bucket struct {
	*group
	place int
}

// number is that of the bucket within the collection.
func (b bucket) number() int { return b.key.group*digest.GroupBuckets + b.place }

func compareBuckets(a, b bucket) int {
	return cmp.Or(a.key.collection.Compare(b.key.collection), a.number()-b.number())
}

func compareGroups(a, b *group) int {
	return cmp.Or(a.key.collection.Compare(b.key.collection), a.key.group-b.key.group)
}

// A journalSize is how many changes a batch has put into the journal.
type journalSize struct {
	batch   uint64
	changes int
}

// maxCached bounds the groups in memory, of 2.5 KB each, beside those that are not
// saved.
const maxCached = 1024

// limits say when groups are saved.
type limits struct {
	// records is how many records the journal has.
	records uint64
	// journalled is how many changes they have at most, which a start has to go through.
	journalled int
	// unsaved is how many groups may wait to be saved.
	unsaved int
}

var defaultLimits = limits{records: 2048, journalled: 32 << 10, unsaved: 2048}

// Open reads the digests of a store.
func Open(reader store.Reader) (*Table, error) { return open(reader, defaultLimits) }

func open(reader store.Reader, l limits) (*Table, error) {
	t := &Table{limits: l, reader: reader, collections: map[crdt.Dot]digest.Digest{}, groups: map[groupKey]*group{}}
	for e, err := range reader.MetaRange(groupPrefix, "") {
		if err != nil {
			return nil, err
		}
		g, err := decodeGroup(e)
		if err != nil {
			return nil, err
		}
		for _, d := range g.digests {
			t.add(g.key.collection, digest.Digest{}, d)
		}
	}
	journal, err := t.readJournal()
	if err != nil {
		return nil, err
	}
	saved := map[groupKey]uint64{} // the last batch that saved it
	for _, j := range journal {
		for _, k := range j.groups {
			saved[k] = j.batch
		}
	}
	for _, j := range journal {
		t.record(journalSize{j.batch, len(j.changes)})
		for _, c := range j.changes {
			if j.batch <= saved[c.group()] {
				continue
			}
			b, err := t.bucket(c.collection, c.bucket)
			if err != nil {
				return nil, err
			}
			t.change(b, c.digest, j.batch)
		}
	}
	t.forget()
	return t, nil
}

// readJournal reads the records of the journal that are needed, in order.
func (t *Table) readJournal() ([]journalled, error) {
	record, err := t.reader.Meta(savedName)
	if err == nil && record != nil {
		t.batches, err = decodeSaved(record)
	}
	if err != nil {
		return nil, err
	}
	var journal []journalled
	for e, err := range t.reader.MetaRange(journalPrefix, "") {
		if err != nil {
			return nil, err
		}
		j, err := decodeJournal(e.Value)
		if err != nil {
			return nil, err
		}
		journal = append(journal, j)
	}
	slices.SortFunc(journal, func(a, b journalled) int { return cmp.Compare(a.batch, b.batch) })
	saved := t.batches
	if n := len(journal); n > 0 {
		t.batches = max(t.batches, journal[n-1].batch)
		saved = max(saved, journal[n-1].saved)
	}
	return slices.DeleteFunc(journal, func(j journalled) bool { return j.batch <= saved }), nil
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
	t.changed = t.changed[:0]
	if len(t.groups) > maxCached+len(t.unsaved) {
		maps.DeleteFunc(t.groups, func(_ groupKey, g *group) bool { return g.since == 0 })
	}
}

// Replace notes that a document weighs other than before.
func (t *Table) Replace(key store.DocKey, before, after digest.Digest) error {
	if before == after {
		return nil
	}
	b, err := t.bucket(key.Collection, digest.Bucket(key.ID))
	if err == nil {
		t.set(b, b.digests[b.place].Minus(before).Plus(after))
	}
	return err
}

// Correct sets the digest of a bucket to what its documents were found to weigh.
func (t *Table) Correct(collection crdt.Dot, number int, d digest.Digest) error {
	b, err := t.bucket(collection, number)
	if err == nil && b.digests[b.place] != d {
		t.set(b, d)
	}
	return err
}

// set changes a bucket in this step.
func (t *Table) set(b bucket, after digest.Digest) {
	t.change(b, after, t.batches+1)
	t.changed = append(t.changed, b)
}

// change changes a bucket in a batch.
func (t *Table) change(b bucket, after digest.Digest, batch uint64) {
	t.add(b.key.collection, b.digests[b.place], after)
	b.digests[b.place] = after
	if b.since == 0 {
		b.since = batch
		t.unsaved = append(t.unsaved, b.group)
	}
}

func (t *Table) bucket(collection crdt.Dot, number int) (bucket, error) {
	g, err := t.group(groupOf(collection, number))
	return bucket{g, number % digest.GroupBuckets}, err
}

func (t *Table) group(k groupKey) (*group, error) {
	if g, ok := t.groups[k]; ok {
		return g, nil
	}
	g := &group{key: k}
	b, err := t.reader.Meta(k.name())
	if err == nil && b != nil {
		g, err = decodeGroup(store.MetaEntry{Name: k.name(), Value: b})
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
	slices.SortFunc(t.changed, compareBuckets)
	t.changed = slices.Compact(t.changed)
	t.batches++
	saved := t.save()
	for _, g := range saved {
		t.batch.Meta[g.key.name()] = g.encode()
	}
	t.batch.Meta[journalName(t.batches%t.limits.records)] = t.encodeJournal(saved)
}

// save decides which groups this batch saves, and what it puts into the journal.
func (t *Table) save() []*group {
	var saved []*group
	t.record(journalSize{t.batches, len(t.changed)})
	t.forget()
	for t.full() {
		g := t.unsaved[0]
		t.unsaved[0], t.unsaved = nil, t.unsaved[1:]
		g.since = 0
		saved = append(saved, g)
		t.forget()
	}
	slices.SortFunc(saved, compareGroups)
	t.changed = slices.DeleteFunc(t.changed, func(b bucket) bool { return b.since == 0 })
	return saved
}

// full reports whether a group has to be saved: another record of the journal is to be
// overwritten, or too much waits.
func (t *Table) full() bool {
	return len(t.unsaved) > 0 &&
		(t.unsaved[0].since+t.limits.records <= t.batches || len(t.unsaved) > t.limits.unsaved || t.journalled > t.limits.journalled)
}

// record takes note of a record of the journal.
func (t *Table) record(j journalSize) {
	t.journal = append(t.journal, j)
	t.journalled += j.changes
}

// forget drops the records of the journal whose groups are all saved.
func (t *Table) forget() {
	saved := t.saved()
	for len(t.journal) > 0 && t.journal[0].batch <= saved {
		t.journalled -= t.journal[0].changes
		t.journal = t.journal[1:]
	}
}

// saved is the batch up to which the journal is not needed.
func (t *Table) saved() uint64 {
	if len(t.unsaved) > 0 {
		return t.unsaved[0].since - 1
	}
	return t.batches
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
	put := func(g *group) {
		for i, d := range g.digests {
			if n := (bucket{g, i}).number(); !d.IsZero() {
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
		g, err := decodeGroup(e)
		if err != nil {
			return nil, err
		}
		put(g)
	}
	for _, g := range t.unsaved {
		if g.key.collection == collection {
			put(g)
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

// Clear removes the digests of documents that are all gone, those of all collections
// but some: at most left records of the store at a time, which it counts down. Nothing
// else may have changed in the step.
func (t *Table) Clear(keep []crdt.Dot, left *uint64) error {
	kept := func(collection crdt.Dot) bool { return slices.Contains(keep, collection) }
	if t.batch.Meta == nil {
		t.batch.Meta = map[string][]byte{}
	}
	if len(t.unsaved) > 0 {
		// The journal has what goes with what stays, and ends here.
		for _, g := range t.unsaved {
			if kept(g.key.collection) {
				t.batch.Meta[g.key.name()] = g.encode()
				*left -= min(*left, 1)
			}
			g.since = 0
		}
		t.batch.Meta[savedName] = encodeSaved(t.batches)
		*left -= min(*left, 1)
		t.unsaved = nil
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
