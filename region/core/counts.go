package core

import (
	"cmp"
	"slices"

	"github.com/meridiandb/meridian/conflict/journal"
)

// ConflictStatus tells of the conflict log.
type ConflictStatus struct {
	// Records and Bytes are its size, Changes the rev of its last change.
	Records int
	Bytes   int64
	Changes uint64
	// Counts are of the conflicts that were seen since the start, in the order of
	// collections and policies. The slice is not changed any more.
	Counts []ConflictCount
	// Callbacks tell of the calls of callbacks, in the order of collections.
	Callbacks []CallbackCount
}

// A ConflictCount is how many conflicts were seen in a collection under a policy,
// and in how many of them the policy failed: a script that could not decide.
type ConflictCount struct {
	Collection, Policy string
	Seen, Failed       uint64
}

// MaxConflictCounts bounds the collections and policies that are counted apart.
// What is beyond is counted together, without names.
const MaxConflictCounts = 1000

type countKey struct{ collection, policy string }

// conflictCounts counts conflicts. The zero value is ready.
type conflictCounts struct {
	seen      map[countKey]*ConflictCount
	published []ConflictCount // nil if it is outdated
}

func (n *conflictCounts) add(r *journal.Record) {
	k := countKey{r.Name, r.Policy.Name}
	if n.seen == nil {
		n.seen = map[countKey]*ConflictCount{}
	}
	if n.seen[k] == nil && len(n.seen) >= MaxConflictCounts {
		k = countKey{}
	}
	if n.seen[k] == nil {
		n.seen[k] = &ConflictCount{Collection: k.collection, Policy: k.policy}
	}
	n.seen[k].Seen++
	if r.Outcome.Failed != "" {
		n.seen[k].Failed++
	}
	n.published = nil
}

func (n *conflictCounts) list() []ConflictCount {
	if n.published == nil {
		n.published = make([]ConflictCount, 0, len(n.seen))
		for _, c := range n.seen {
			n.published = append(n.published, *c)
		}
		slices.SortFunc(n.published, func(a, b ConflictCount) int {
			return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Policy, b.Policy))
		})
	}
	return n.published
}

// Conflicts tells of the conflict log.
func (c *Core) Conflicts() ConflictStatus { return c.conflictStatus() }

func (c *Core) conflictStatus() ConflictStatus {
	records, bytes := c.conflicts.Size()
	return ConflictStatus{Records: records, Bytes: bytes, Changes: c.conflicts.Rev(), Counts: c.counts.list(), Callbacks: c.callbacks.status(c.uptime)}
}
