package peering

import (
	"sync"
	"time"
)

// Bounds of what a Limiter lets through and remembers.
const (
	limiterEvery = 30 * time.Second
	limiterKeys  = 1024
)

// A Limiter keeps a log from being flooded with the same news: each key passes
// once in half a minute.
type Limiter struct {
	mu   sync.Mutex
	seen map[string]occurrence
}

type occurrence struct {
	at         time.Time
	suppressed int
}

// Allow reports whether news of the key may be told now, and how many were not
// since the last time.
func (l *Limiter) Allow(key string) (suppressed int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.seen[key]
	if known && now.Sub(o.at) < limiterEvery {
		o.suppressed++
		l.seen[key] = o
		return 0, false
	}
	if l.seen == nil || len(l.seen) >= limiterKeys {
		l.seen = make(map[string]occurrence)
	}
	l.seen[key] = occurrence{at: now}
	return o.suppressed, true
}
