package check

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/e2e/history"
)

// convergence: the final reads of a place are equal in all regions.
func (h *indexed) convergence() {
	for p, finals := range h.finals {
		read := map[string]bool{}
		for _, i := range finals {
			read[h.ops[i].Region] = true
			if a, b := outcome(h.ops[finals[0]]), outcome(h.ops[i]); a != b {
				h.add(Convergence, h.op(finals[0], i), "%v differs between regions", p)
			}
		}
		for region := range h.regions {
			if !read[region] {
				h.add(Convergence, nil, "%v was not read in %s at the end", p, region)
			}
		}
	}
}

// outcome is what a read has seen, as text.
func outcome(op history.Op) string {
	values := op.Values
	if op.Object != history.List && op.Object != history.Text { // others have no order
		values = slices.Sorted(slices.Values(values))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %d", values, op.Amount)
	for _, account := range slices.Sorted(maps.Keys(op.Balances)) {
		fmt.Fprintf(&b, " %s=%d", account, op.Balances[account])
	}
	return b.String()
}

// nothingLost: what was acknowledged, or seen by anybody, is there at the end. A
// register's value may have been replaced by a write that did not end before
// the replaced one began; see siblings for the exact rule.
func (h *indexed) nothingLost() {
	for v, w := range h.writes {
		_, seen := h.seen[v]
		op := h.ops[w]
		if op.Result != history.OK && !seen {
			continue
		}
		if op.Object == history.Siblings {
			continue
		}
		finals := h.finals[v.place]
		if len(finals) == 0 {
			h.add(NothingLost, h.op(w), "%v was not read at the end", v.place)
		}
		for _, f := range finals {
			if slices.Contains(h.ops[f].Values, v.value) || op.Object == history.Register && h.mayReplace(h.ops[f], w) {
				continue
			}
			h.add(NothingLost, h.op(w, f), "%q is not in %s at the end (acknowledged: %v, seen before: %v)",
				v.value, h.ops[f].Region, op.Result == history.OK, seen)
		}
	}
}

// mayReplace reports whether what a register shows at the end may have replaced
// a write, or won against it. While clocks jump anything may but what the writer had
// seen, or written itself.
func (h *indexed) mayReplace(final history.Op, write int) bool {
	w := h.ops[write]
	for _, value := range final.Values {
		v := valueAt{place{final.Object, final.Key}, value}
		by, ok := h.writes[v]
		if ok && h.clocksJump {
			knew, did := h.knew[known{w.Process, v}]
			return !did || knew >= write
		}
		if ok && (h.ops[by].Result == history.Unknown || h.ops[by].End >= w.Start) {
			return true
		}
	}
	return false
}

// siblings: at the end a register that shows all concurrent values has those that
// were written and that no write replaced which saw them, and no others. A write of
// unknown outcome counts if somebody saw its value: had it been done, its value would
// be there or have been replaced by a write that saw it.
func (h *indexed) siblings() {
	replaced := map[valueAt]bool{}
	want := map[place][]string{}
	done := func(v valueAt, w int) bool {
		_, seen := h.seen[v]
		return h.ops[w].Result == history.OK || seen
	}
	for v, w := range h.writes {
		if v.object != history.Siblings || !done(v, w) {
			continue
		}
		for _, value := range h.ops[w].Saw {
			replaced[valueAt{v.place, value}] = true
		}
	}
	for v, w := range h.writes {
		if v.object == history.Siblings && done(v, w) && !replaced[v] {
			want[v.place] = append(want[v.place], v.value)
		}
	}
	for p, values := range want {
		slices.Sort(values)
		if len(h.finals[p]) == 0 {
			h.add(NothingLost, nil, "%v was not read at the end", p)
		}
		for _, f := range h.finals[p] {
			if got := slices.Sorted(slices.Values(h.ops[f].Values)); !slices.Equal(got, values) {
				h.add(NothingLost, h.op(f), "%v: the values that nothing replaced are %q, %s shows %q", p, values, h.ops[f].Region, got)
			}
		}
	}
}

// counters: at the end a counter is the sum of all acknowledged increments and some of
// those of unknown outcome. If all amounts are positive, a read before the
// end is not less than what its process added before, nor more than all that began.
func (h *indexed) counters() {
	type state struct {
		sum      int64
		unknown  []int64
		negative bool
		incs     []int
	}
	counters := map[string]*state{}
	for i, op := range h.ops {
		if op.Object != history.Counter || op.Kind != history.Inc || op.Result == history.Refused {
			continue
		}
		c := counters[op.Key]
		if c == nil {
			c = &state{}
			counters[op.Key] = c
		}
		c.incs = append(c.incs, i)
		c.negative = c.negative || op.Amount < 0
		if op.Result == history.OK {
			c.sum += op.Amount
		} else {
			c.unknown = append(c.unknown, op.Amount)
		}
	}
	for key, c := range counters {
		finals := h.finals[place{history.Counter, key}]
		if len(finals) == 0 {
			h.add(CounterExact, nil, "counter %s was not read at the end", key)
		}
		for _, f := range finals {
			if d := h.ops[f].Amount - c.sum; !isSumOfSome(d, c.unknown) {
				h.add(CounterExact, h.op(f), "counter %s: %d was acknowledged, %s shows %d, and no increments of unknown outcome add up to %d (there are %v)",
					key, c.sum, h.ops[f].Region, h.ops[f].Amount, d, c.unknown)
			}
		}
	}
	own := map[[2]string]int64{}
	for i, op := range h.ops {
		if op.Object != history.Counter || op.Result != history.OK || counters[op.Key] == nil || counters[op.Key].negative {
			continue
		}
		me := [2]string{op.Process, op.Key}
		if op.Kind == history.Inc {
			own[me] += op.Amount
			continue
		}
		if op.Amount < own[me] {
			h.add(CounterExact, h.op(i), "the process has seen, or added, %d before", own[me])
		}
		own[me] = max(own[me], op.Amount) // monotonic reads
		var begun int64
		for _, j := range counters[op.Key].incs {
			if h.ops[j].Start <= op.End {
				begun += h.ops[j].Amount
			}
		}
		if op.Amount > begun {
			h.add(CounterExact, h.op(i), "only %d had been added by then", begun)
		}
	}
}

// maxExactSums bounds the arithmetic of isSumOfSome, beyond which it looks at the
// bounds only.
const maxExactSums = 1 << 22

// isSumOfSome reports whether some of the amounts add up to d.
func isSumOfSome(d int64, amounts []int64) bool {
	var low, high int64
	for _, a := range amounts {
		low, high = low+min(a, 0), high+max(a, 0)
	}
	if d < low || d > high {
		return false
	}
	if high-low > maxExactSums {
		return true
	}
	// Bit i says that some add up to i+low: a negative amount is one that is in
	// the sum unless it is taken out.
	sums := big.NewInt(1)
	for _, a := range amounts {
		sums.Or(sums, new(big.Int).Lsh(sums, uint(max(a, -a))))
	}
	return sums.Bit(int(d-low)) == 1
}

// lists: the elements that one process appended are in the order in which it
// did, and all reads of a list or a text have them in the order of the end.
func (h *indexed) lists() {
	order := map[valueAt]int{}
	for p, finals := range h.finals {
		for pos, value := range h.ops[finals[0]].Values {
			order[valueAt{p, value}] = pos
		}
	}
	for i, op := range h.ops {
		if op.Object != history.List && op.Object != history.Text || op.Kind != history.Read || op.Result != history.OK {
			continue
		}
		latest := map[string]int{} // by process the latest append that was passed
		before := -1
		for _, value := range op.Values {
			v := valueAt{h.at(i), value}
			w, ok := h.writes[v]
			if !ok {
				continue // reported
			}
			// One of unknown outcome may have been done late.
			by := h.ops[w].Process
			if op.Object == history.List && h.ops[w].Result == history.OK && w < latest[by]-1 {
				h.add(ListOrder, h.op(w, latest[by]-1, i), "%q comes after what the same process appended later", value)
			}
			latest[by] = max(latest[by], w+1)
			pos, ok := order[v]
			if !ok {
				continue
			}
			if pos < before {
				h.add(ListOrder, h.op(i, h.finals[v.place][0]), "%q is elsewhere at the end", value)
			}
			before = pos
		}
	}
}

// banks: every read of a bank has the sum that it started with, and balances
// that are those of the transfers in its book.
func (h *indexed) banks() {
	start := map[string]map[string]int64{}
	for _, op := range h.ops {
		if op.Object == history.Bank && op.Kind == history.Write {
			start[op.Key] = op.Balances
		}
	}
	for i, op := range h.ops {
		if op.Object != history.Bank || op.Kind != history.Read || op.Result != history.OK {
			continue
		}
		want := maps.Clone(start[op.Key])
		if want == nil {
			continue
		}
		var sum, initial int64
		for account, balance := range want {
			initial += balance
			sum += op.Balances[account]
		}
		if sum != initial || len(want) != len(op.Balances) {
			h.add(BankSum, h.op(i), "there was %d in %d accounts, now %d in %d", initial, len(want), sum, len(op.Balances))
		}
		for _, id := range op.Values {
			if w, ok := h.writes[valueAt{h.at(i), id}]; ok {
				want[h.ops[w].From] -= h.ops[w].Amount
				want[h.ops[w].To] += h.ops[w].Amount
			}
		}
		if !maps.Equal(want, op.Balances) {
			h.add(Atomic, h.op(i), "the balances of the transfers in the book are %v", want)
		}
	}
}
