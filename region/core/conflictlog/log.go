package conflictlog

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/region/store"
)

// Limits of the log. The zero value of a field means its default.
type Limits struct {
	// Records and Bytes bound the log: the oldest records go to make room. Of a
	// conflict that still stands the document keeps all there is to see.
	Records int
	Bytes   int64
	// Age is how long a record is kept whose conflict does not stand any more.
	Age time.Duration
}

// Defaults of Limits.
const (
	DefaultRecords = 100_000
	DefaultBytes   = 256 << 20
	DefaultAge     = 30 * 24 * time.Hour
)

func (l Limits) withDefaults() Limits {
	if l.Records == 0 {
		l.Records = DefaultRecords
	}
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Age == 0 {
		l.Age = DefaultAge
	}
	return l
}

// Bounds of the work.
const (
	// dropItems is how many records more than were added one step drops.
	dropItems = 64
	// ageItems is how many records one call of Trim looks at, and ageEvery how
	// often it starts again at the oldest.
	ageItems = 32
	ageEvery = time.Minute
	// ChangesKept is how many changes of records a feed can go back.
	ChangesKept = 1 << 16
)

// A block is one with records.
type block struct {
	number uint64
	live   int
}

// A Log is the writing side. It belongs to the owner of a region's core.
type Log struct {
	r      store.Reader
	b      *store.Batch
	limits Limits

	state
	now    int64 // of the step, not before the last change
	dirty  bool
	added  int
	live   int
	blocks []block // ascending

	pass    uint64 // seq from which the search for old records goes on
	passing bool
	resting time.Duration // uptime until which it rests
}

// Open reads what is durable.
func Open(r store.Reader, limits Limits) (*Log, error) {
	l := &Log{r: r, limits: limits.withDefaults()}
	record, err := r.Meta(stateName)
	if err != nil {
		return nil, err
	}
	if l.state, err = decodeState(record); err != nil {
		return nil, err
	}
	for e, err := range r.MetaRange(blockPrefix, "") {
		if err != nil {
			return nil, err
		}
		n, err := parseBlock(e.Name)
		if err != nil {
			return nil, err
		}
		m, err := decodeBitmap(e.Value)
		if err != nil {
			return nil, err
		}
		l.blocks = append(l.blocks, block{n, m.count()})
		l.live += m.count()
	}
	return l, nil
}

// Begin starts a step: what is written goes to b, and what is read comes from
// there first.
func (l *Log) Begin(b *store.Batch, now time.Time) {
	l.b, l.dirty, l.added = b, false, 0
	l.now = max(now.UnixMilli(), l.last)
}

// Rev counts the changes of records.
func (l *Log) Rev() uint64 { return l.rev }

// Size is the number of records, and what they take in bytes.
func (l *Log) Size() (records int, bytes int64) { return l.live, l.bytes }

// Idle reports whether no document is known to be in conflict, so that none
// needs to be asked for.
func (l *Log) Idle() bool { return l.standing == 0 }

func (l *Log) get(name string) ([]byte, error) {
	if v, ok := l.b.Meta[name]; ok {
		return v, nil
	}
	return l.r.Meta(name)
}

func (l *Log) put(name string, v []byte) {
	if l.b.Meta == nil {
		l.b.Meta = map[string][]byte{}
	}
	l.b.Meta[name] = v
	l.dirty = true
}

// edit changes a bitmap.
func (l *Log) edit(name string, change func(*bitmap)) (bitmap, error) {
	old, err := l.get(name)
	if err != nil {
		return bitmap{}, err
	}
	m, err := decodeBitmap(old)
	if err != nil {
		return bitmap{}, err
	}
	was := m
	if change(&m); m != was {
		l.put(name, m.encode())
	}
	return m, nil
}

// Record returns a record by its seq, nil if there is none.
func (l *Log) Record(seq uint64) (*journal.Record, error) {
	b, err := l.get(recordName(seq))
	if b == nil || err != nil {
		return nil, err
	}
	return journal.DecodeRecord(b)
}

// Find returns a record by an id that it has or had, nil if there is none.
func (l *Log) Find(id journal.ID) (*journal.Record, error) {
	b, err := l.get(idName(id))
	if b == nil || err != nil {
		return nil, err
	}
	seq, err := decodeNumber(b)
	if err != nil {
		return nil, err
	}
	return l.Record(seq)
}

// Add puts a new record into the log, and says what became its seq.
func (l *Log) Add(r *journal.Record) error {
	l.seq++
	l.added++
	r.Seq, r.Seen = l.seq, l.now
	b, bit := place(r.Seq)
	if _, err := l.edit(blockName(b), func(m *bitmap) { m.set(bit) }); err != nil {
		return err
	}
	if k := len(l.blocks) - 1; k < 0 || l.blocks[k].number != b {
		l.blocks = append(l.blocks, block{number: b})
	}
	l.blocks[len(l.blocks)-1].live++
	l.live++
	if _, err := l.edit(indexName(b, indexColl, dotBytes(r.Collection)), func(m *bitmap) { m.set(bit) }); err != nil {
		return err
	}
	return l.save(r, 0, "")
}

// Save puts a changed record in the place of the old one.
func (l *Log) Save(r *journal.Record) error {
	b, err := l.get(recordName(r.Seq))
	if err != nil {
		return err
	}
	if b == nil {
		return nil // it was dropped
	}
	old, err := journal.DecodeRecord(b)
	if err != nil {
		return err
	}
	for _, id := range append(old.Past, old.ID) {
		if id != r.ID && !slices.Contains(r.Past, id) {
			l.put(idName(id), nil)
		}
	}
	return l.save(r, len(b), old.State)
}

func (l *Log) save(r *journal.Record, oldSize int, oldState journal.State) error {
	l.rev++
	r.Rev, r.Changed = l.rev, l.now
	l.last = l.now
	number, bit := place(r.Seq)
	if oldState != r.State {
		if oldState != "" {
			if _, err := l.edit(indexName(number, indexState, string(oldState)), func(m *bitmap) { m.clear(bit) }); err != nil {
				return err
			}
		}
		if _, err := l.edit(indexName(number, indexState, string(r.State)), func(m *bitmap) { m.set(bit) }); err != nil {
			return err
		}
	}
	for _, region := range r.Regions() {
		if _, err := l.edit(indexName(number, indexRegion, region), func(m *bitmap) { m.set(bit) }); err != nil {
			return err
		}
	}
	b, err := r.Append(nil)
	if err != nil {
		return err
	}
	l.bytes += int64(len(b) - oldSize)
	seq := encodeNumber(r.Seq)
	l.put(recordName(r.Seq), b)
	l.put(idName(r.ID), seq)
	l.put(changeName(r.Rev), seq)
	if r.Rev > ChangesKept {
		l.put(changeName(r.Rev-ChangesKept), nil)
	}
	return nil
}

// Standing returns what stands in a document.
func (l *Log) Standing(k store.DocKey) ([]Standing, error) {
	b, err := l.get(docName(k))
	if err != nil {
		return nil, err
	}
	return decodeStanding(b)
}

// SetStanding says what stands in a document that had so many before.
func (l *Log) SetStanding(k store.DocKey, had int, now []Standing) {
	switch {
	case had == 0 && len(now) > 0:
		l.standing++
	case had > 0 && len(now) == 0:
		l.standing--
	}
	l.put(docName(k), encodeStanding(now))
}

// Finish ends a step: it drops what is beyond the bounds and writes the state.
// uptime is the core's.
func (l *Log) Finish(uptime time.Duration) error {
	if err := l.trim(uptime); err != nil {
		return err
	}
	if l.dirty {
		l.put(stateName, l.state.encode())
	}
	return nil
}

func (l *Log) trim(uptime time.Duration) error {
	for n := l.added + dropItems; n > 0 && (l.live > l.limits.Records || l.bytes > l.limits.Bytes) && l.live > 0; n-- {
		seq, err := l.next(0)
		if err != nil {
			return err
		}
		if err := l.drop(seq); err != nil {
			return err
		}
	}
	if uptime < l.resting {
		return nil
	}
	if !l.passing {
		l.passing, l.pass = true, 0
	}
	for range ageItems {
		seq, err := l.next(l.pass)
		if err != nil {
			return err
		}
		var r *journal.Record
		if seq > 0 {
			if r, err = l.Record(seq); err != nil {
				return err
			}
		}
		if r == nil || r.Seen > l.now-l.limits.Age.Milliseconds() {
			// All that follow are younger.
			l.passing, l.resting = false, uptime+ageEvery
			return nil
		}
		l.pass = seq + 1
		stands := r.Settled == nil && r.Kind != journal.Overruled
		if !stands && r.Changed <= l.now-l.limits.Age.Milliseconds() {
			if err := l.drop(seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// next returns the first seq that is there and not below from, 0 if there is none.
func (l *Log) next(from uint64) (uint64, error) {
	start, bit := place(from)
	for _, b := range l.blocks {
		if b.number < start {
			continue
		}
		if b.number > start {
			bit = 0
		}
		v, err := l.get(blockName(b.number))
		if err != nil {
			return 0, err
		}
		m, err := decodeBitmap(v)
		if err != nil {
			return 0, err
		}
		if k := m.lowest(bit); k >= 0 {
			return b.number*blockSize + uint64(k), nil
		}
	}
	return 0, nil
}

// drop removes a record.
func (l *Log) drop(seq uint64) error {
	r, err := l.Record(seq)
	if err != nil {
		return err
	}
	number, bit := place(seq)
	if _, err := l.edit(blockName(number), func(m *bitmap) { m.clear(bit) }); err != nil {
		return err
	}
	l.live--
	if i := slices.IndexFunc(l.blocks, func(b block) bool { return b.number == number }); i >= 0 {
		if l.blocks[i].live--; l.blocks[i].live == 0 {
			l.blocks = slices.Delete(l.blocks, i, i+1)
			if err := l.purge(indexName(number, "", "") + "/"); err != nil {
				return err
			}
		}
	}
	if r == nil {
		return nil
	}
	b, err := l.get(recordName(seq))
	if err != nil {
		return err
	}
	l.bytes -= int64(len(b))
	l.put(recordName(seq), nil)
	for _, id := range append(r.Past, r.ID) {
		l.put(idName(id), nil)
	}
	return l.orphan(r)
}

// orphan notes that the record of a conflict that still stands is gone, so that
// it is not recorded anew.
func (l *Log) orphan(r *journal.Record) error {
	k := store.DocKey{Collection: r.Collection, ID: r.Document}
	all, err := l.Standing(k)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(s Standing) bool { return s.Seq == r.Seq })
	if i >= 0 {
		all[i].Seq = 0
		l.put(docName(k), encodeStanding(all))
	}
	return nil
}

// Forget drops the records of what stands in a document that is about to be
// replaced. What stands in the new one is recorded anew.
func (l *Log) Forget(k store.DocKey) error {
	if l.Idle() {
		return nil
	}
	all, err := l.Standing(k)
	if err != nil || len(all) == 0 {
		return err
	}
	for i := range all {
		if all[i].Seq > 0 {
			if err := l.drop(all[i].Seq); err != nil {
				return err
			}
		}
	}
	l.SetStanding(k, len(all), nil)
	return nil
}

// purge removes all records of a prefix.
func (l *Log) purge(prefix string) error {
	var names []string
	for e, err := range l.r.MetaRange(prefix, "") {
		if err != nil {
			return err
		}
		names = append(names, strings.Clone(e.Name))
	}
	for name := range maps.Keys(l.b.Meta) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		l.put(name, nil)
	}
	return nil
}
