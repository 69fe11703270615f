package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// shrinkTries bounds the runs of Shrink.
const shrinkTries = 400

// Shrink looks for the least of a failed run that still fails the same check:
// fewer classes of faults, fewer regions, fewer actions. It returns the options
// that replay it, what became of it, and how many runs it took.
func Shrink(o Options, failed Result) (Options, Result, int) {
	s := &shrinker{best: o, res: failed}
	s.best.Keep = slices.Clone(failed.Actions)
	for again := true; again && s.tries < shrinkTries; {
		again = s.regions()
		again = s.faults() || again
		again = s.actions() || again
	}
	return s.best, s.res, s.tries
}

type shrinker struct {
	best  Options
	res   Result
	tries int
}

// try takes over options that fail the same check.
func (s *shrinker) try(o Options) bool {
	if s.tries >= shrinkTries {
		return false
	}
	s.tries++
	res := Run(o)
	if res.Failure == nil || res.Failure.Check != s.res.Failure.Check {
		return false
	}
	s.best, s.res = o, res
	s.best.Keep = slices.Clone(res.Actions)
	return true
}

func (s *shrinker) regions() (smaller bool) {
	for n := 2; n < s.res.Regions; n++ {
		o := s.best
		o.Regions = n
		if s.try(o) {
			return true
		}
	}
	return false
}

func (s *shrinker) faults() (fewer bool) {
	for _, f := range slices.Clone(s.res.Faults) {
		o := s.best
		o.Without = append(slices.Clone(o.Without), f)
		fewer = s.try(o) || fewer
	}
	return fewer
}

// actions leaves out runs of actions of halving length.
func (s *shrinker) actions() (fewer bool) {
	for n := len(s.best.Keep) / 2; n > 0; n /= 2 {
		for at := 0; at < len(s.best.Keep); {
			o := s.best
			o.Keep = slices.Delete(slices.Clone(o.Keep), at, min(at+n, len(o.Keep)))
			if s.try(o) {
				fewer = true
			} else {
				at += n
			}
		}
	}
	return fewer
}

// FormatKeep writes indices as in 3,7-9; none as "none".
func FormatKeep(keep []int) string {
	if len(keep) == 0 {
		return "none"
	}
	var parts []string
	for i := 0; i < len(keep); {
		j := i
		for j+1 < len(keep) && keep[j+1] == keep[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, strconv.Itoa(keep[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", keep[i], keep[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// ParseKeep reads what FormatKeep writes.
func ParseKeep(s string) ([]int, error) {
	out := []int{}
	if s == "none" {
		return out, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, berr := strconv.Atoi(to)
		if err != nil || berr != nil || a > b || b-a > 1<<20 {
			return nil, fmt.Errorf("not a list of actions: %q", part)
		}
		for i := a; i <= b; i++ {
			out = append(out, i)
		}
	}
	return out, nil
}

// Args are the arguments of e2e/simulate that run these options.
func (o Options) Args() string {
	var b strings.Builder
	fmt.Fprintf(&b, "--seed %d", o.Seed)
	if o.Regions > 0 {
		fmt.Fprintf(&b, " --regions %d", o.Regions)
	}
	if len(o.With) > 0 {
		b.WriteString(" --with " + joinFaults(o.With))
	}
	if len(o.Without) > 0 {
		b.WriteString(" --without " + joinFaults(o.Without))
	}
	if o.Keep != nil {
		b.WriteString(" --keep " + FormatKeep(o.Keep))
	}
	return b.String()
}

func joinFaults(fs []Fault) string {
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = string(f)
	}
	return strings.Join(names, ",")
}
