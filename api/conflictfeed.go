package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/region"
)

// feedConflicts answers with the changes of the conflict log as they happen.
func (s *Server) feedConflicts(x *exchange, r *http.Request, q region.ConflictQuery, after string) error {
	if !q.Since.IsZero() || q.Before > 0 {
		return problemf(malformedRequest, "a feed goes on from Last-Event-ID, or from \"after\"; \"since\" and \"cursor\" are of pages")
	}
	leave, err := s.enterFeed()
	if err != nil {
		return err
	}
	defer leave()
	match, err := s.conflictFilter(r.Context(), q)
	if err != nil {
		return err
	}
	if id := r.Header.Get(lastEventID); id != "" {
		after = id
	}
	from := s.region.ConflictStatus().Changes
	if after != "" {
		if from, err = strconv.ParseUint(after, 10, 64); err != nil {
			return problemf(malformedRequest, "Last-Event-ID, or \"after\", is the id of an event of this feed")
		}
		// What is gone is better said before the feed begins.
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		if _, _, err := s.region.ConflictChanges(ctx, from, 1); errors.Is(err, region.ErrFeedGone) {
			return err
		}
	}
	f := &feed{x: x}
	return s.serveFeed(f, r, strconv.FormatUint(from, 10), func(ctx context.Context) (string, error) {
		records, next, err := s.region.ConflictChanges(ctx, from, feedChunk)
		for _, c := range records {
			if match(c) {
				b, err := json.Marshal(summaryOf(c))
				if err != nil {
					return "", err
				}
				f.event("conflict", strconv.FormatUint(c.Rev, 10), b)
			}
		}
		from = next
		return strconv.FormatUint(from, 10), err
	})
}

// conflictFilter checks what a feed is narrowed to as a page would.
func (s *Server) conflictFilter(ctx context.Context, q region.ConflictQuery) (func(*journal.Record) bool, error) {
	probe := q
	probe.Limit = 1
	if _, err := s.region.Conflicts(ctx, probe); err != nil {
		return nil, err
	}
	return func(c *journal.Record) bool {
		if q.Collection != "" && q.Collection != c.Name && q.Collection != c.Collection.String() || q.State != "" && q.State != c.State {
			return false
		}
		if q.Region == "" {
			return true
		}
		for _, name := range c.Regions() {
			if name == q.Region {
				return true
			}
		}
		return false
	}, nil
}
