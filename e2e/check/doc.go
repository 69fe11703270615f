// Package check judges histories of operations (package history) by what
// Meridian promises, without knowing how it works. What a checker reports is a
// violation whatever became of operations with unknown outcome: they may have
// been done at any moment after their start, or never.
//
// The definitions:
//
//   - Session guarantees (read your writes, monotonic reads, monotonic writes,
//     writes follow reads): Terry, Demers, Petersen, Spreitzer, Theimer, Welch:
//     Session Guarantees for Weakly Consistent Replicated Data (PDIS 1994). They
//     are checked on sets, lists and texts that only grow, where what a read may not lack
//     is known exactly.
//   - Causal convergence (CCv) of registers: Bouajjani, Enea, Guerraoui, Hamza: On
//     Verifying Causal Consistency (POPL 2017), by its bad patterns CyclicCO,
//     WriteCOInitRead, WriteCORead, ThinAirRead and CyclicCF. For histories whose
//     values are written once, they are sound and complete. Here they are sound:
//     an operation with unknown outcome is left out unless a read saw it, and is
//     never taken to come before later operations of its process.
//   - Order of lists and texts: Attiya, Burckhardt, Gotsman, Morrison, Yang, Zawirski:
//     Specification and Complexity of Collaborative Text Editing (PODC 2016): one
//     order of all elements, which all reads agree with.
//
// A process carries its token from answer to answer, so that the order of its
// operations is part of the causal order.
package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/e2e/history"
)

// A Violation is something that must not be.
type Violation struct {
	// Check is the name of what was violated.
	Check string
	// Detail says how.
	Detail string
	// Ops show it.
	Ops []history.Op
}

// String tells the violation and its operations.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.Check, v.Detail)
	for _, op := range v.Ops {
		fmt.Fprintf(&b, "\n    %v", op)
	}
	return b.String()
}

// Names of checks.
const (
	Convergence        = "convergence"
	NothingLost        = "nothing acknowledged is lost"
	ThinAir            = "reads see only what was written"
	CounterExact       = "counters are exact"
	ListOrder          = "order of lists"
	BankSum            = "sum of the bank"
	Atomic             = "atomic visibility"
	ReadYourWrites     = "read your writes"
	MonotonicReads     = "monotonic reads"
	MonotonicWrites    = "monotonic writes"
	WritesFollowReads  = "writes follow reads"
	Causal             = "causal visibility"
	CausalConvergence  = "causal convergence"
	maxViolationsShown = 5 // of each check
)

// All runs all checks.
func All(ops []history.Op) []Violation {
	r := &report{count: map[string]int{}}
	h := index(ops, r)
	h.convergence()
	h.nothingLost()
	h.siblings()
	h.counters()
	h.lists()
	h.banks()
	h.causal()
	for name, n := range r.count {
		if n > maxViolationsShown {
			r.found = append(r.found, Violation{Check: name, Detail: fmt.Sprintf("%d violations in all", n)})
		}
	}
	return r.found
}

type report struct {
	found []Violation
	count map[string]int
}

func (r *report) add(check string, ops []history.Op, format string, args ...any) {
	r.count[check]++
	if r.count[check] <= maxViolationsShown {
		r.found = append(r.found, Violation{check, fmt.Sprintf(format, args...), ops})
	}
}

// A place is where values are: no value is written to it twice.
type place struct {
	object history.Object
	key    string
}

func (p place) String() string { return fmt.Sprintf("%s %s", p.object, p.key) }

type valueAt struct {
	place
	value string
}

type known struct {
	process string
	valueAt
}

// An indexed history.
type indexed struct {
	*report
	ops []history.Op
	// writes are the operations that wrote a value, by place and value.
	writes map[valueAt]int
	// seen are the values that some read, or write that replaced them, has seen.
	seen    map[valueAt]int
	regions map[string]bool
	// finals are the final reads of each place.
	finals map[place][]int
	// clocksJump says that clocks were shifted.
	clocksJump bool
	// knew is since which operation a process knows a value of a register.
	knew map[known]int
}

func (h *indexed) at(i int) place { return place{h.ops[i].Object, h.ops[i].Key} }

func (h *indexed) op(is ...int) (ops []history.Op) {
	for _, i := range is {
		ops = append(ops, h.ops[i])
	}
	return ops
}

func index(ops []history.Op, r *report) *indexed {
	h := &indexed{
		report: r, ops: ops, writes: map[valueAt]int{}, seen: map[valueAt]int{},
		regions: map[string]bool{}, finals: map[place][]int{}, knew: map[known]int{},
	}
	for i, op := range ops {
		if op.Object == history.Clock {
			h.clocksJump = true
			continue
		}
		if op.Object == history.Register && op.Result == history.OK {
			for _, value := range append(slices.Clone(op.Values), op.Value) {
				k := known{op.Process, valueAt{h.at(i), value}}
				if _, before := h.knew[k]; !before {
					h.knew[k] = i
				}
			}
		}
		if op.Kind != history.Read && op.Value != "" {
			v := valueAt{h.at(i), op.Value}
			if other, twice := h.writes[v]; twice {
				r.add(ThinAir, h.op(other, i), "the history is of no use: %q is written twice", op.Value)
			}
			h.writes[v] = i
		}
		if op.Final {
			h.regions[op.Region] = true
		}
		if op.Final && op.Result == history.OK {
			h.finals[h.at(i)] = append(h.finals[h.at(i)], i)
		}
	}
	for i, op := range ops {
		switch {
		case op.Kind == history.Read && op.Result == history.OK:
			h.see(i, op.Values)
		case op.Result != history.Refused:
			h.see(i, op.Saw)
		}
	}
	return h
}

// see enters that operation i has seen values.
func (h *indexed) see(i int, values []string) {
	once := make(map[string]bool, len(values))
	for _, value := range values {
		v := valueAt{h.at(i), value}
		w, written := h.writes[v]
		switch {
		case once[value]:
			h.add(ThinAir, h.op(i), "%q is there twice", value)
		case !written:
			h.add(ThinAir, h.op(i), "nobody wrote %q", value)
			continue
		case h.ops[w].Result == history.Refused:
			h.add(ThinAir, h.op(w, i), "%q was refused, and seen", value)
			continue
		case h.ops[w].Start > h.ops[i].End:
			h.add(ThinAir, h.op(w, i), "%q was seen before it was written", value)
			continue
		}
		once[value] = true
		if _, ok := h.seen[v]; !ok {
			h.seen[v] = i
		}
	}
}
