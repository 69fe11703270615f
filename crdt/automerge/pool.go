package automerge

import (
	"container/list"
	"crypto/sha256"
	"sync"

	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// DefaultMemoryBudget is how much memory the library's documents may take that
// nobody is using at the moment.
const DefaultMemoryBudget = 256 << 20

// Estimates of what the library takes, in bytes.
const (
	memoryDoc    = 12 << 10
	memoryChange = 1 << 10
	memoryOp     = 560
)

// SetMemoryBudget bounds the memory, by estimate, of the library's documents
// that are kept for later. Beyond it those go which were not used for the
// longest time. It holds for the whole process.
func SetMemoryBudget(bytes int) { shared.setBudget(bytes) }

// MemoryInUse is the estimated memory of the documents that are kept, and their number.
func MemoryInUse() (bytes, documents int) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	return shared.size, shared.idle.Len()
}

// A loaded document is a content in the library's form, used by one at a time.
type loaded struct {
	key   [sha256.Size]byte
	doc   *lib.Doc
	index *validate.Index // made when a client brings changes
	size  int
}

func (h *loaded) free() { h.doc.Free() }

// pool keeps documents that nobody uses. It holds no state of anything: what is
// not in it is made again from bytes.
type pool struct {
	mu     sync.Mutex
	budget int
	size   int
	idle   *list.List // of *loaded, least recently used at the back
	byKey  map[[sha256.Size]byte]*list.Element
}

func newPool(budget int) *pool {
	return &pool{budget: budget, idle: list.New(), byKey: map[[sha256.Size]byte]*list.Element{}}
}

var shared = newPool(DefaultMemoryBudget)

func (p *pool) setBudget(bytes int) {
	p.mu.Lock()
	p.budget = bytes
	out := p.evict()
	p.mu.Unlock()
	free(out)
}

// take returns the document of that name for the caller's own use, or nil.
func (p *pool) take(key [sha256.Size]byte) *loaded {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.byKey[key]
	if !ok {
		return nil
	}
	h := e.Value.(*loaded)
	p.remove(e)
	return h
}

// put gives a document back. Its key must be that of what it holds.
func (p *pool) put(h *loaded) {
	p.mu.Lock()
	var out []*loaded
	if e, ok := p.byKey[h.key]; ok { // somebody else has made it too
		out = append(out, e.Value.(*loaded))
		p.remove(e)
	}
	p.byKey[h.key] = p.idle.PushFront(h)
	p.size += h.size
	out = append(out, p.evict()...)
	p.mu.Unlock()
	free(out)
}

func (p *pool) remove(e *list.Element) {
	h := e.Value.(*loaded)
	p.idle.Remove(e)
	delete(p.byKey, h.key)
	p.size -= h.size
}

func (p *pool) evict() (out []*loaded) {
	for p.size > p.budget && p.idle.Len() > 0 {
		e := p.idle.Back()
		out = append(out, e.Value.(*loaded))
		p.remove(e)
	}
	return out
}

func free(hs []*loaded) {
	for _, h := range hs {
		h.free()
	}
}

// open returns the library's form of c, which the caller gives back or frees.
func (c *content) open() (*loaded, error) {
	k := key(c.heads)
	if h := shared.take(k); h != nil {
		return h, nil
	}
	d, err := c.load()
	if err != nil {
		return nil, err
	}
	return &loaded{key: k, doc: d}, nil
}

// give puts a library's document into the pool: one with the given heads, and
// so many changes and operations.
func give(h *loaded, heads []Hash, changes, ops int) {
	h.doc.Release()
	h.key = key(heads)
	h.size = memoryDoc + memoryChange*changes + memoryOp*ops
	if h.index != nil {
		h.size += h.index.Size()
	}
	shared.put(h)
}

// give puts the library's form of c into the pool.
func (c *content) give(h *loaded) { give(h, c.heads, c.changes(), c.ops) }
