package region

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// Errors of reads at a handle.
var (
	// ErrHandleGone: no snapshot is kept under this handle, not any more, or not
	// in this region (HTTP 410).
	ErrHandleGone = errors.New("the moment is not kept")
	// ErrHandlesFull: as many snapshots are kept as may be (HTTP 429).
	ErrHandlesFull = errors.New("too many moments are kept")
)

// Bounds of the snapshots that are kept for reads of several pages. A snapshot
// keeps the store from reclaiming what has been overwritten since.
const (
	// MaxHandles is how many are kept at a time.
	MaxHandles = 256
	// HandleIdle is for how long one is kept after it was last read, and
	// HandleAge for how long in all.
	HandleIdle = time.Minute
	HandleAge  = time.Hour
)

const (
	handleSweep  = time.Second
	handleFormat = "1"
)

// AtNow in ListOptions.At asks for a handle of the present moment.
const AtNow = "now"

// A moment is a snapshot under a handle.
type moment struct {
	handle  string
	snap    store.Snapshot
	have    crdt.Vector
	catalog *core.Catalog
	made    time.Time

	// Of the moments' lock.
	used    time.Time
	readers int
	gone    bool // to be closed by the last reader
}

// moments are the snapshots that a region keeps for its readers.
type moments struct {
	region string
	clock  func() time.Time

	mu  sync.Mutex
	all map[string]*moment
}

func newMoments(region string, clock func() time.Time) *moments {
	return &moments{region: region, clock: clock, all: map[string]*moment{}}
}

// run closes what is not read any more, and in the end everything.
func (s *moments) run(ctx context.Context) error {
	ticker := time.NewTicker(handleSweep)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			now := s.clock()
			s.drop(func(m *moment) bool {
				return m.readers == 0 && now.Sub(m.used) >= HandleIdle || now.Sub(m.made) >= HandleAge
			})
		case <-ctx.Done():
			s.drop(func(*moment) bool { return true })
			return nil
		}
	}
}

// drop forgets moments. One that is being read is closed by its last reader.
func (s *moments) drop(which func(*moment) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for handle, m := range s.all {
		if !which(m) {
			continue
		}
		delete(s.all, handle)
		if m.gone = true; m.readers == 0 {
			m.snap.Close()
		}
	}
}

// open returns the moment of a handle, to be given back by release.
func (s *moments) open(handle string) (*moment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.all[handle]
	if m == nil {
		return nil, fmt.Errorf("%w: %s", ErrHandleGone, s.whyNot(handle))
	}
	m.readers++
	return m, nil
}

func (s *moments) whyNot(handle string) string {
	b, err := base64.RawURLEncoding.DecodeString(handle)
	format, rest, _ := strings.Cut(string(b), " ")
	_, region, _ := strings.Cut(rest, " ")
	switch {
	case err != nil || format != handleFormat:
		return "this is no handle of a region"
	case region != s.region:
		return fmt.Sprintf("it is one of region %.100q, and known there only", region)
	}
	return fmt.Sprintf("it is kept for %v after it was last read, for %v in all, and not across a restart", HandleIdle, HandleAge)
}

// release gives a moment back.
func (s *moments) release(m *moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.readers--
	m.used = s.clock()
	if m.gone && m.readers == 0 {
		m.snap.Close()
	}
}

// keep gives a moment that is being read a handle.
func (s *moments) keep(m *moment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= MaxHandles {
		return fmt.Errorf("%w: %d", ErrHandlesFull, len(s.all))
	}
	m.handle = base64.RawURLEncoding.EncodeToString([]byte(handleFormat + " " + rand.Text() + " " + s.region))
	m.gone = false
	s.all[m.handle] = m
	return nil
}

// moment opens the one that is asked for: the present one if at is empty or
// AtNow. It is to be given back by r.moments.release.
func (r *Region) moment(at string) (*moment, error) {
	if at != "" && at != AtNow {
		return r.moments.open(at)
	}
	now := r.cfg.Clock()
	m := &moment{catalog: r.published.Load().catalog, snap: r.store.Snapshot(), made: now, used: now, readers: 1, gone: true}
	var err error
	if m.have, err = core.DurableHave(m.snap); err != nil {
		r.moments.release(m)
		return nil, readError(err)
	}
	return m, nil
}
