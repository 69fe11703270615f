package conflict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
)

// Merge returns the policy "merge": what can be merged was merged by the type,
// and of single values set concurrently the one with the greatest stamp is shown.
func Merge() Resolver { return newest("merge") }

// LWW returns the policy "lww", the last write wins: the greatest stamp, then
// the greatest replica id.
func LWW() Resolver { return newest("lww") }

// newest shows the version with the greatest stamp. The type of a collection
// makes the difference between the policies of this kind, not the choice.
type newest string

func (n newest) Spec() any { return string(n) }

func (n newest) Resolve(_ Context, versions []Version) crdt.Outcome {
	first, second := best(versions, compareAge)
	return crdt.Outcome{Shown: first, Reason: newer(versions, first, second)}
}

// Siblings returns the policy "siblings": all versions are offered and a client
// resolves. Where one value is needed, the one with the greatest stamp stands in.
func Siblings() Resolver { return siblings{} }

type siblings struct{}

func (siblings) Spec() any { return "siblings" }

func (siblings) Resolve(_ Context, versions []Version) crdt.Outcome {
	first, _ := best(versions, compareAge)
	return crdt.Outcome{Shown: first, Open: true, Reason: fmt.Sprintf(
		"this collection leaves the choice to its clients: %d versions are offered, and the newest, %s, stands in until one is written that covers them",
		len(versions), describe(&versions[first], clockOf(versions)))}
}

// RegionPriority returns the policy "region-priority": the version of the first
// region in the list that has one is shown, its newest if it has several.
// Regions that are not listed come after those that are, by the rule of [LWW].
func RegionPriority(regions ...string) Resolver {
	return &regionPriority{regions: slices.Clone(regions)}
}

type regionPriority struct{ regions []string }

func (p *regionPriority) Spec() any {
	list := make([]any, len(p.regions))
	for i, r := range p.regions {
		list[i] = r
	}
	return map[string]any{regionPriorityName: list}
}

// rank is a region's place in the list; what is not listed shares the last.
func (p *regionPriority) rank(region string) int {
	if i := slices.Index(p.regions, region); i >= 0 {
		return i
	}
	return len(p.regions)
}

func (p *regionPriority) Resolve(_ Context, versions []Version) crdt.Outcome {
	first, second := best(versions, func(a, b *Version) int {
		if ra, rb := p.rank(a.Region), p.rank(b.Region); ra != rb {
			return rb - ra
		}
		return compareAge(a, b)
	})
	return crdt.Outcome{Shown: first, Reason: p.reason(versions, first, second)}
}

func (p *regionPriority) reason(versions []Version, first, second int) string {
	if second < 0 {
		return newer(versions, first, second)
	}
	f, s, unlisted := &versions[first], &versions[second], len(p.regions)
	rf, rs := p.rank(f.Region), p.rank(s.Region)
	switch rf {
	case unlisted:
		return fmt.Sprintf("none of the regions that this collection prefers (%s) has a version; %s",
			strings.Join(p.regions, ", "), newer(versions, first, second))
	case rs:
		return fmt.Sprintf("%s comes first among the regions that have a version; %s", f.Region, newer(versions, first, second))
	}
	why := fmt.Sprintf("%s comes before %s in this collection's order of regions", f.Region, name(s))
	if rs == unlisted {
		why = fmt.Sprintf("%s is in this collection's order of regions and %s is not", f.Region, name(s))
	}
	clock := clockOf(versions)
	return fmt.Sprintf("%s, so %s is shown and not %s; %s", why, describe(f, clock), other(f, s, clock), unseen(versions))
}
