package conflict

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// A Case is a conflict to try a policy on.
type Case struct {
	// Name says where it comes from.
	Name     string
	Context  Context
	Versions []Version
}

// A Fault is what a policy does wrong in a case.
type Fault struct {
	Case Case
	// Kind is one of the Fault constants.
	Kind string
	// Why says it in words.
	Why string
}

// The kinds of faults.
const (
	// FaultFails: the policy fails: an exception, a budget, a bad result.
	FaultFails = "fails"
	// FaultRandom: the same versions give different outcomes.
	FaultRandom = "not-deterministic"
	// FaultOrder: the outcome depends on the order of the versions.
	FaultOrder = "depends-on-order"
)

// A Tried is a case and what the policy made of it.
type Tried struct {
	Case    Case
	Outcome crdt.Outcome
}

// A Report is what Check has found out.
type Report struct {
	// Tried are the cases in the order given, up to the last that was tried.
	Tried []Tried
	// Faults are at most MaxFaults.
	Faults []Fault
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Faults) == 0 }

const (
	// MaxFaults is how many faults end a check.
	MaxFaults = 3
	// freshCases is how many cases are tried in a fresh realm as well, which
	// takes milliseconds each.
	freshCases = 2
	// shuffles is how many orders of the versions are tried besides the
	// canonical one and its reverse.
	shuffles = 2
	// checkSeed makes the same orders of every check.
	checkSeed = 5
)

// Check tries a policy on cases: the outcome has to be the same when the policy
// is asked again, in a realm that was never used, and when it gets the versions
// in another order (which it never does outside of a check, but a policy that
// goes by the order has probably got something wrong). The same policy and cases
// give the same report.
func Check(r Resolver, cases []Case) *Report {
	report := &Report{}
	for i := range cases {
		c := &cases[i]
		p := At(r, c.Context.Path)
		out := r.Resolve(c.Context, c.Versions)
		report.Tried = append(report.Tried, Tried{*c, out})
		if kind, why := tryCase(p, c, i < freshCases); kind != "" {
			report.Faults = append(report.Faults, Fault{*c, kind, why})
			if len(report.Faults) == MaxFaults {
				break
			}
		}
	}
	return report
}

// tryCase finds what a policy does wrong in a case.
func tryCase(r Resolver, c *Case, fresh bool) (kind, why string) {
	canonical := canonicalOrder(c.Versions)
	ask := func(order []int, fresh bool) crdt.Outcome {
		p, ok := r.(*script)
		if !ok {
			return resolveIn(r, c.Context, c.Versions, order)
		}
		call := p.compiled.Call
		if fresh {
			call = p.compiled.CallFresh
		}
		return p.run(c.Context, c.Versions, order, canonical, call)
	}
	want := ask(canonical, false)
	if want.Failed != "" {
		return FaultFails, want.Failed
	}
	if got := ask(canonical, fresh); !sameOutcome(want, got) {
		return FaultRandom, fmt.Sprintf("asked twice, it shows %s and then %s", c.shows(want), c.shows(got))
	}
	reversed := slices.Clone(canonical)
	slices.Reverse(reversed)
	orders := [][]int{reversed}
	random := rand.New(rand.NewPCG(checkSeed, uint64(len(c.Versions))))
	for range shuffles {
		o := slices.Clone(canonical)
		random.Shuffle(len(o), func(i, j int) { o[i], o[j] = o[j], o[i] })
		orders = append(orders, o)
	}
	for _, order := range orders {
		if got := ask(order, false); !sameOutcome(want, got) {
			return FaultOrder, fmt.Sprintf("with the versions in the order of their age it shows %s, and in another order %s; go by rank, stamp or region, not by the place in the list",
				c.shows(want), c.shows(got))
		}
	}
	return "", ""
}

// resolveIn asks a policy with the versions in some order.
func resolveIn(r Resolver, ctx Context, versions []Version, order []int) crdt.Outcome {
	given := make([]Version, len(order))
	for k, i := range order {
		given[k] = versions[i]
	}
	out := r.Resolve(ctx, given)
	if out.Shown >= 0 && out.Shown < len(order) {
		out.Shown = order[out.Shown]
	}
	return out
}

func sameOutcome(a, b crdt.Outcome) bool {
	return a.Shown == b.Shown && a.Open == b.Open && a.Failed == b.Failed && (a.Shown >= 0 || value.Equal(a.Value, b.Value))
}

// maxShows bounds how much of a value a fault shows.
const maxShows = 200

func (c *Case) shows(out crdt.Outcome) string {
	if out.Failed != "" {
		return "nothing, since it fails (" + out.Failed + ")"
	}
	v := out.Value
	if out.Shown >= 0 {
		v = c.Versions[out.Shown].Value
	}
	b := string(value.Append(nil, v, value.Options{}))
	if len(b) > maxShows {
		b = strings.ToValidUTF8(b[:maxShows], "") + "…"
	}
	return b
}

// Generate makes conflicts of all shapes, the same ones for the same arguments:
// whole documents for the path "", and else values of fields. Among them are
// versions of one millisecond and of one region, many versions, values of
// several kinds. There are no integers beyond 2^53, on which most scripts fail.
func Generate(ctx Context, n int) []Case {
	g := generator{random: rand.New(rand.NewPCG(checkSeed, uint64(len(ctx.Path))))}
	cases := make([]Case, n)
	for i := range cases {
		cases[i] = g.draw(ctx, i)
	}
	return cases
}

// CheckedPaths are the paths whose conflicts a policy should be checked on: that
// of the whole document, or of some field, and one for each field rule.
func CheckedPaths(r Resolver, whole bool) []string {
	paths := []string{"/field"}
	if whole {
		paths[0] = ""
	}
	p, ok := r.(*byField)
	if !ok {
		return paths
	}
	for i := range p.fields.rules {
		paths = append(paths, p.pathFor(&p.fields.rules[i]))
	}
	return paths
}

// pathFor returns a path at which a rule decides: no index that a more specific
// rule names.
func (p *byField) pathFor(rule *fieldRule) (path string) {
	for n := range len(p.fields.rules) + 1 {
		tokens := slices.Clone(rule.tokens)
		for k, t := range tokens {
			if t == anyToken {
				tokens[k] = strconv.Itoa(n)
			}
		}
		if path = tokens.String(); p.at(path) == rule {
			break
		}
	}
	return path
}
