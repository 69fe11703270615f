package conflict

import (
	"cmp"
	"fmt"
	"math"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

const (
	maxName = "max"
	minName = "min"
)

// extreme is the policy of a field whose greatest ("max") or least ("min")
// number is shown. Numbers are compared by what they are worth, whatever their
// kind; of equal ones the newest is shown. Where a version is no number, the
// last write wins.
type extreme string

func (e extreme) Spec() any { return string(e) }

func (e extreme) Resolve(ctx Context, versions []Version) crdt.Outcome {
	for _, i := range canonicalOrder(versions) {
		if _, ok := number(&versions[i]); !ok {
			out := LWW().Resolve(ctx, versions)
			out.Reason = fmt.Sprintf("%s compares numbers, and %s is none, so the last write wins: %s",
				string(e), describe(&versions[i], clockOf(versions)), out.Reason)
			return out
		}
	}
	first, second := best(versions, func(a, b *Version) int {
		x, _ := number(a)
		y, _ := number(b)
		c := compareNumbers(x, y)
		if e == minName {
			c = -c
		}
		return cmp.Or(c, compareAge(a, b))
	})
	return crdt.Outcome{Shown: first, Reason: e.reason(versions, first, second)}
}

func (e extreme) reason(versions []Version, first, second int) string {
	clock := clockOf(versions)
	f := &versions[first]
	if second < 0 {
		return describe(f, clock) + " is the only version"
	}
	s := &versions[second]
	x, _ := number(f)
	y, _ := number(s)
	if compareNumbers(x, y) == 0 {
		return fmt.Sprintf("%s and %s are the same number, and the newer is shown; %s", quantity(f, clock), quantity(s, clock), unseen(versions))
	}
	than, most := "greater than", "the greatest"
	if e == minName {
		than, most = "less than", "the least"
	}
	if len(versions) > 2 {
		return fmt.Sprintf("%s is %s of %d, before %s; %s", quantity(f, clock), most, len(versions), quantity(s, clock), unseen(versions))
	}
	return fmt.Sprintf("%s is %s %s; %s", quantity(f, clock), than, quantity(s, clock), unseen(versions))
}

// quantity describes a version by its number.
func quantity(v *Version, c clock) string {
	return fmt.Sprintf("%s's %s at %s", name(v), value.Append(nil, v.Value, value.Options{}), c.format(v.Stamp))
}

// number returns the number that a version is: an int64 or a float64.
func number(v *Version) (any, bool) {
	switch n := v.Value.(type) {
	case int64, float64:
		return n, !v.Deleted
	case value.Counter:
		return int64(n), !v.Deleted
	}
	return nil, false
}

// compareNumbers compares by worth, exactly.
func compareNumbers(a, b any) int {
	switch a := a.(type) {
	case int64:
		switch b := b.(type) {
		case int64:
			return cmp.Compare(a, b)
		case float64:
			return compareIntFloat(a, b)
		}
	case float64:
		switch b := b.(type) {
		case int64:
			return -compareIntFloat(b, a)
		case float64:
			if a == b { // also 0.0 and -0.0
				return 0
			}
			return cmp.Compare(a, b)
		}
	}
	return 0
}

func compareIntFloat(i int64, f float64) int {
	switch {
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	whole := math.Trunc(f) // an int64, exactly
	return cmp.Or(cmp.Compare(i, int64(whole)), cmp.Compare(0, f-whole))
}
