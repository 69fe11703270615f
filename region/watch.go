package region

import (
	"bytes"
	"sync"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// maxHeard is how much of what others say waits for one watcher; the rest is lost.
const maxHeard = 256

// A Watcher is told of the documents that it watches: that they changed, here or
// by another region, and what other watchers of them say, here or elsewhere.
type Watcher struct {
	region *Region
	signal chan struct{}

	mu      sync.Mutex
	news    News
	holders bool
}

// News is what a watcher has not taken in yet.
type News struct {
	// Changed are the documents that changed.
	Changed map[store.DocKey]bool
	// Heard is what others said, the oldest first. It must not be changed.
	Heard []core.Tell
	// Held says that other regions hold more than before.
	Held bool
}

// watchHub knows who watches what.
type watchHub struct {
	mu       sync.Mutex
	seq      uint64 // of commits; what is read after a commit was counted has it
	watchers map[store.DocKey]map[*Watcher]bool
	all      map[*Watcher]bool
}

func newWatchHub() *watchHub {
	return &watchHub{watchers: map[store.DocKey]map[*Watcher]bool{}, all: map[*Watcher]bool{}}
}

// NewWatcher returns a watcher of nothing. Close ends it.
func (r *Region) NewWatcher() *Watcher {
	w := &Watcher{region: r, signal: make(chan struct{}, 1)}
	r.watches.mu.Lock()
	defer r.watches.mu.Unlock()
	r.watches.all[w] = true
	return w
}

// Close ends the watcher, for all documents.
func (w *Watcher) Close() {
	h := w.region.watches
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, w)
	for key, ws := range h.watchers {
		if delete(ws, w); len(ws) == 0 {
			delete(h.watchers, key)
		}
	}
}

// Watch adds a document, whether it exists or not.
func (w *Watcher) Watch(key store.DocKey) {
	h := w.region.watches
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[key] == nil {
		h.watchers[key] = map[*Watcher]bool{}
	}
	h.watchers[key][w] = true
}

// WatchHolders asks for News.Held.
func (w *Watcher) WatchHolders() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holders = true
}

// Signal has something in it when there is news.
func (w *Watcher) Signal() <-chan struct{} { return w.signal }

// Take returns the news, and forgets it.
func (w *Watcher) Take() News {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.news
	w.news = News{}
	return n
}

// tell lets f add to the news.
func (w *Watcher) tell(f func(n *News)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.news)
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// Say tells the other watchers of a document, in all regions. It does not wait,
// and what it says can be lost. Data has at most wire.MaxPresence bytes.
func (w *Watcher) Say(key store.DocKey, data []byte) {
	t := core.Tell{Key: key, Data: bytes.Clone(data)}
	w.region.watches.say(t, w)
	select {
	case w.region.submits <- submission{ask: t, reply: make(chan core.Reply, 1)}:
	default: // the mailbox is full of more important things
	}
}

// Commits counts the commits: what is read after it has been asked for is not
// older than the last of them.
func (r *Region) Commits() uint64 {
	r.watches.mu.Lock()
	defer r.watches.mu.Unlock()
	return r.watches.seq
}

// committed tells the watchers of the documents of a batch.
func (h *watchHub) committed(docs []store.DocPut) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	if len(h.watchers) == 0 {
		return
	}
	for i := range docs {
		key := docs[i].Key
		for w := range h.watchers[key] {
			w.tell(func(n *News) {
				if n.Changed == nil {
					n.Changed = map[store.DocKey]bool{}
				}
				n.Changed[key] = true
			})
		}
	}
}

// held tells who asked that other regions hold more.
func (h *watchHub) held(acked []core.Acked) {
	if len(acked) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.all {
		w.mu.Lock()
		asked := w.holders
		w.mu.Unlock()
		if asked {
			w.tell(func(n *News) { n.Held = true })
		}
	}
}

// say tells the watchers of a document what one of them says.
func (h *watchHub) say(t core.Tell, from *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers[t.Key] {
		if w == from {
			continue
		}
		w.tell(func(n *News) {
			if len(n.Heard) < maxHeard {
				n.Heard = append(n.Heard, t)
			}
		})
	}
}
