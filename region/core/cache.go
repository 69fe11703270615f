package core

import (
	"container/list"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/crdt/document"
	"github.com/meridiandb/meridian/crdt/register"
	"github.com/meridiandb/meridian/region/store"
)

// An entry is a document held decoded by the owner. A dirty one is newer than
// the store.
type entry struct {
	key   store.DocKey
	state crdt.State
	// record is the stored form, nil while dirty or absent.
	record []byte
	// tag is the version tag of the state, "" until it is asked for.
	tag string
	// saved counts the older versions written so far; it picks the next slot.
	saved uint64
	// weight is what the stored document weighs in the digests.
	weight digest.Digest
	dirty  bool
	// older versions of it that wait to be saved, the oldest first
	older []*olderVersion
	// fresh says that the store had no such document when it was loaded.
	fresh   bool
	watched watched
	// size is about what the document takes in the store, memory what it takes here.
	size, memory int
	elem         *list.Element
}

// versionTag names the state's version.
func (e *entry) versionTag() string {
	if e.tag == "" {
		e.tag = crdt.VersionTag(e.state.Heads().Dots())
	}
	return e.tag
}

// cache holds recently used documents, least recently used at the back.
type cache struct {
	reader  store.Reader
	limit   int
	size    int
	entries map[store.DocKey]*entry
	lru     *list.List
	last    *entry // at the front of lru
	// homeless are the older versions of entries that were removed. They are saved by
	// the next step.
	homeless []*olderVersion
}

func newCache(r store.Reader, limit int) *cache {
	return &cache{reader: r, limit: limit, entries: map[store.DocKey]*entry{}, lru: list.New()}
}

// load returns the document, an empty one of type t if it was never written.
func (c *cache) load(key store.DocKey, t crdt.Type) (*entry, error) {
	if c.last != nil && c.last.key == key {
		return c.last, nil
	}
	if e, ok := c.entries[key]; ok {
		c.lru.MoveToFront(e.elem)
		c.last = e
		return e, nil
	}
	record, err := c.reader.Doc(key)
	if err != nil {
		return nil, err
	}
	e := &entry{key: key, record: record, fresh: record == nil}
	if record == nil {
		if e.state, err = newState(t); err != nil {
			return nil, err
		}
	} else {
		r, err := decodeRecord(record)
		if err != nil {
			return nil, fmt.Errorf("document %q of %v: %w", key.ID, key.Collection, err)
		}
		e.state, e.saved, e.weight = r.state, r.saved, digest.Of(key.Collection, key.ID, r.state.Heads(), r.content)
	}
	c.insert(e, len(record))
	return e, nil
}

func (c *cache) insert(e *entry, size int) {
	c.entries[e.key] = e
	e.elem = c.lru.PushFront(e)
	c.last = e
	c.resize(e, size)
}

// put holds a document that the store does not have like that.
func (c *cache) put(key store.DocKey, s crdt.State) *entry {
	e := &entry{key: key, state: s}
	c.insert(e, 0)
	return e
}

const entryOverhead = 512

func (c *cache) resize(e *entry, n int) {
	memory := n + entryOverhead
	if s, ok := e.state.(crdt.Sized); ok {
		memory += s.Memory()
	}
	c.size += memory - e.memory
	e.size, e.memory = n+entryOverhead, memory
}

// remove forgets an entry.
func (c *cache) remove(e *entry) {
	delete(c.entries, e.key)
	c.homeless = append(c.homeless, e.older...)
	if c.last == e {
		c.last = nil
	}
	c.lru.Remove(e.elem)
	c.size -= e.memory
}

// evict shrinks the cache to its limit. No entry may be dirty.
func (c *cache) evict() {
	for c.size > c.limit && c.lru.Len() > 1 {
		c.remove(c.lru.Back().Value.(*entry))
	}
}

func newState(t crdt.Type) (crdt.State, error) {
	switch t {
	case crdt.TypeDocument:
		return document.New(), nil
	case crdt.TypeRegister:
		return register.New(), nil
	case crdt.TypeAutomerge:
		return automerge.New(), nil
	default:
		return nil, fmt.Errorf("%w: unknown type %v", crdt.ErrCorrupt, t)
	}
}
