package region

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// A readCache keeps documents as they were read last, for whoever reads them
// next: decoded, and as their collection's policy shows them.
//
// It never shows another document than the store at the published vector would.
// A document is dropped before the commit that changes it, and cannot be put
// back until that is over: while it is under way the document is in pending, and
// what was read before or meanwhile has an older generation than the shard and is
// not taken. So what is found in the cache holds all commits that were published
// before it was looked for; and since what was read from a commit that is not
// published yet says so by its vector, it holds no others.
type readCache struct {
	seed   maphash.Seed
	shards [readShards]readShard
}

type readShard struct {
	mu         sync.Mutex
	limit      int
	bytes      int
	lru        *simplelru.LRU[store.DocKey, *kept]
	pending    []store.DocKey // few: a batch's documents are spread over the shards
	generation uint64
}

// A kept document. It is shared by its readers and never changed.
type kept struct {
	doc Document // Have is that of the read
	// catalog is that by which it is shown.
	catalog *core.Catalog
	size    int
	derived atomic.Value
}

const (
	// DefaultReadCacheBytes bounds the documents kept for readers, by an estimate.
	DefaultReadCacheBytes = 32 << 20
	readShards            = 64
	// A kept document weighs a multiple of its record: as a value, as versions,
	// and as what was derived of it. What weighs too much is not kept.
	keptFactor   = 4
	keptOverhead = 1024
	maxKept      = 256 << 10
)

func newReadCache(limit int) *readCache {
	c := &readCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		// The count is no bound: the bytes are.
		lru, err := simplelru.NewLRU[store.DocKey, *kept](1+limit/keptOverhead, nil)
		if err != nil {
			panic(err) // of a size that is not positive
		}
		c.shards[i] = readShard{limit: limit / readShards, lru: lru}
	}
	return c
}

func (c *readCache) shard(key store.DocKey) *readShard {
	return &c.shards[maphash.String(c.seed, key.ID)%readShards]
}

// get returns a document as it was at the published vector, or nil, and the
// generation to put it under once it is read from the store.
func (c *readCache) get(key store.DocKey, p *published) (*kept, uint64) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.lru.Get(key); ok && k.catalog == p.catalog && p.have.Covers(k.doc.Have) {
		return k, s.generation
	}
	return nil, s.generation
}

// put keeps a document that was read from a snapshot made after get told the
// generation. It returns nil if it cannot be kept.
func (c *readCache) put(key store.DocKey, d Document, catalog *core.Catalog, record int, generation uint64) *kept {
	k := &kept{doc: d, catalog: catalog, size: keptOverhead + len(d.ID) + keptFactor*record}
	if k.size > maxKept || failed(&d.View) {
		return nil
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation || slices.Contains(s.pending, key) {
		return nil
	}
	s.drop(key)
	s.lru.Add(key, k)
	s.bytes += k.size
	for s.bytes > s.limit && s.lru.Len() > 1 {
		if _, old, ok := s.lru.RemoveOldest(); ok {
			s.bytes -= old.size
		}
	}
	return k
}

// failed reports whether a policy could not decide: it may the next time.
func failed(v *crdt.View) bool {
	for i := range v.Conflicts {
		if v.Conflicts[i].Failed != "" {
			return true
		}
	}
	return false
}

func (s *readShard) drop(key store.DocKey) {
	if old, ok := s.lru.Peek(key); ok {
		s.bytes -= old.size
		s.lru.Remove(key)
	}
}

// committing drops what a batch is about to change. It is followed by committed,
// whatever became of the batch, before it is called for another one.
func (c *readCache) committing(b *store.Batch) {
	for i := range b.Docs {
		s := c.shard(b.Docs[i].Key)
		s.mu.Lock()
		s.generation++
		s.pending = append(s.pending, b.Docs[i].Key)
		s.drop(b.Docs[i].Key)
		s.mu.Unlock()
	}
}

func (c *readCache) committed(b *store.Batch) {
	for i := range b.Docs {
		s := c.shard(b.Docs[i].Key)
		s.mu.Lock()
		s.generation++
		clear(s.pending)
		s.pending = s.pending[:0]
		s.mu.Unlock()
	}
}

// Derive returns what derive makes of the document, for a document that is kept
// for further readers: it is made once for all of them. derive must depend on the
// document alone, and return something of the same type whoever asks, which nobody may
// change. For other documents ok is false.
func (d *Document) Derive(derive func() any) (derived any, ok bool) {
	if d.kept == nil {
		return nil, false
	}
	if v := d.kept.derived.Load(); v != nil {
		return v, true
	}
	v := derive()
	d.kept.derived.Store(v)
	return v, true
}
