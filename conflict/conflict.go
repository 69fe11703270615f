// Package conflict decides which of several concurrent versions is shown.
//
// A policy is a pure view: a function of a set of versions that no write has
// seen together. It writes nothing (I7) and changes no replicated state, so it
// can be changed at any time without divergence, and the versions that it does
// not show stay until a later write covers them. That makes it commutative,
// associative and idempotent by construction; what is left to get wrong is
// determinism. No policy here reads a clock, and none depends on the order in
// which it is given the versions.
package conflict

import (
	"cmp"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// A Version is one of the concurrent versions, and where it was written.
type Version struct {
	crdt.Version
	// Region is the name of the region that wrote it, or "" if it is not known.
	Region string
}

// A Context says what a conflict is about.
type Context struct {
	Collection string
	ID         string
	// Path is the JSON pointer of the field, "" for the whole document.
	Path string
	// Decided says what a callback has decided about the versions, if it has.
	Decided crdt.Decision
}

// A Resolver is a policy.
type Resolver interface {
	// Resolve picks from at least two versions, in canonical order: by stamp,
	// then dot, least first. It must be a pure function of the set of them.
	Resolve(Context, []Version) crdt.Outcome
	// Spec is the policy as it stands in a collection's settings, as a value of
	// package value.
	Spec() any
}

// View makes of a policy what the types ask. regionOf names the region of a
// replica, "" if it is unknown.
func View(r Resolver, ctx Context, regionOf func(crdt.ReplicaID) string) crdt.Resolve {
	return func(c crdt.Conflict) crdt.Outcome {
		versions := make([]Version, len(c.Versions))
		for i, v := range c.Versions {
			versions[i].Version = v
			if regionOf != nil {
				versions[i].Region = regionOf(v.Dot.Replica)
			}
		}
		ctx := ctx
		ctx.Path, ctx.Decided = c.Path, c.Decided
		return r.Resolve(ctx, versions)
	}
}

// compareAge is the canonical order: by stamp, then replica id, then sequence number.
func compareAge(a, b *Version) int {
	return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
}

// best returns the indices of the greatest version and of the runner-up, which
// is -1 if there is none.
func best(versions []Version, compare func(a, b *Version) int) (first, second int) {
	order := make([]int, len(versions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return compare(&versions[j], &versions[i]) })
	if len(order) < 2 {
		return 0, -1
	}
	return order[0], order[1]
}
