package check_test

import (
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/check"
	"github.com/meridiandb/meridian/e2e/history"
)

// A script makes histories: each operation comes after the one before.
type script struct{ ops []history.Op }

func (s *script) do(op history.Op) {
	if op.Result == "" {
		op.Result = history.OK
	}
	if op.Region == "" {
		op.Region = "us-east"
	}
	op.Start = time.Duration(len(s.ops)) * time.Second
	op.End = op.Start + time.Millisecond
	s.ops = append(s.ops, op)
}

func (s *script) write(process string, object history.Object, key, value string) {
	kind := map[history.Object]history.Kind{history.Register: history.Write, history.Set: history.Add, history.List: history.Append, history.Text: history.Insert}
	s.do(history.Op{Process: process, Object: object, Kind: kind[object], Key: key, Value: value})
}

func (s *script) lost(process string, object history.Object, key, value string, result history.Result) {
	s.write(process, object, key, value)
	s.ops[len(s.ops)-1].Result = result
}

func (s *script) reads(process string, object history.Object, key string, values ...string) {
	s.do(history.Op{Process: process, Object: object, Kind: history.Read, Key: key, Values: values})
}

// end reads a key in both regions.
func (s *script) end(object history.Object, key string, values ...string) {
	for _, region := range []string{"us-east", "eu-west"} {
		s.do(history.Op{Process: "end " + region, Region: region, Object: object, Kind: history.Read, Key: key, Values: values, Final: true})
	}
}

func (s *script) replace(process, value string, saw ...string) {
	s.do(history.Op{Process: process, Object: history.Siblings, Kind: history.Write, Key: "k", Value: value, Saw: saw})
}

func (s *script) inc(process string, amount int64, result history.Result) {
	s.do(history.Op{Process: process, Object: history.Counter, Kind: history.Inc, Key: "k", Amount: amount, Result: result})
}

func (s *script) counted(process, region string, amount int64, final bool) {
	s.do(history.Op{Process: process, Region: region, Object: history.Counter, Kind: history.Read, Key: "k", Amount: amount, Final: final})
}

func (s *script) transfer(id, from, to string, amount int64, result history.Result) {
	s.do(history.Op{Process: "p", Object: history.Bank, Kind: history.Transfer, Key: "k", Value: id, From: from, To: to, Amount: amount, Result: result})
}

func (s *script) bank(kind history.Kind, final bool, a, b int64, book ...string) {
	s.do(history.Op{
		Process: "p", Object: history.Bank, Kind: kind, Key: "k",
		Balances: map[string]int64{"a": a, "b": b}, Values: book, Final: final,
	})
}

const (
	register = history.Register
	set      = history.Set
	list     = history.List
	text     = history.Text
	unknown  = history.Unknown
	refused  = history.Refused
)

// Each history is one that must not be reported, or must be reported under the
// name of what it breaks.
var histories = []struct {
	name string
	want string // "" for nothing
	make func(s *script)
}{
	{"sets in order", "", func(s *script) {
		s.write("p", set, "k", "1")
		s.lost("p", set, "k", "2", unknown)
		s.lost("p", set, "k", "3", unknown)
		s.lost("p", set, "k", "4", refused)
		s.reads("p", set, "k", "1")
		s.reads("q", set, "k")
		s.reads("p", set, "k", "1", "3")
		s.write("p", set, "k", "5")
		s.reads("q", set, "k", "1", "3", "5")
		s.end(set, "k", "5", "1", "3")
	}},
	{"regions differ", check.Convergence, func(s *script) {
		s.lost("p", set, "k", "1", unknown)
		s.end(set, "k", "1")
		s.ops[len(s.ops)-1].Values = nil
	}},
	{"a region was not read", check.Convergence, func(s *script) {
		s.write("p", set, "k", "1")
		s.end(set, "k", "1")
		s.write("p", set, "other", "1")
		s.end(set, "other", "1")
		s.ops = s.ops[:len(s.ops)-1]
	}},
	{"lists end in different orders", check.Convergence, func(s *script) {
		s.write("p", list, "k", "1")
		s.write("q", list, "k", "2")
		s.end(list, "k", "1", "2")
		s.ops[len(s.ops)-1].Values = []string{"2", "1"}
	}},
	{"an acknowledged element is lost", check.NothingLost, func(s *script) {
		s.write("p", set, "k", "1")
		s.end(set, "k")
	}},
	{"an acknowledged element of a list is lost", check.NothingLost, func(s *script) {
		s.write("p", list, "k", "1")
		s.end(list, "k")
	}},
	{"a seen element of unknown outcome is lost", check.NothingLost, func(s *script) {
		s.lost("p", set, "k", "1", unknown)
		s.reads("q", set, "k", "1")
		s.end(set, "k")
	}},
	{"nobody looked at the end", check.NothingLost, func(s *script) { s.write("p", set, "k", "1") }},
	{"an element from nowhere", check.ThinAir, func(s *script) { s.end(set, "k", "1") }},
	{"a refused element", check.ThinAir, func(s *script) {
		s.lost("p", set, "k", "1", refused)
		s.end(set, "k", "1")
	}},
	{"an element from the future", check.ThinAir, func(s *script) {
		s.reads("q", set, "k", "1")
		s.write("p", set, "k", "1")
		s.end(set, "k", "1")
	}},
	{"an element twice", check.ThinAir, func(s *script) {
		s.write("p", list, "k", "1")
		s.end(list, "k", "1", "1")
	}},
	{"own write not read", check.ReadYourWrites, func(s *script) {
		s.write("p", set, "k", "1")
		s.reads("p", set, "k")
		s.end(set, "k", "1")
	}},
	{"read, then not read", check.MonotonicReads, func(s *script) {
		s.write("p", set, "k", "1")
		s.reads("q", set, "k", "1")
		s.reads("q", set, "k")
		s.end(set, "k", "1")
	}},
	{"the second write without the first", check.MonotonicWrites, func(s *script) {
		s.write("p", set, "k", "1")
		s.write("p", set, "k", "2")
		s.reads("q", set, "k", "2")
		s.end(set, "k", "1", "2")
	}},
	{"the answer without the question", check.WritesFollowReads, func(s *script) {
		s.write("p", set, "k", "question")
		s.reads("q", set, "k", "question")
		s.write("q", set, "k", "answer")
		s.reads("r", set, "k", "answer")
		s.end(set, "k", "question", "answer")
	}},
	{"the answer elsewhere, the question not", check.Causal, func(s *script) {
		s.write("p", set, "questions", "1")
		s.reads("q", set, "questions", "1")
		s.write("q", set, "answers", "2")
		s.reads("r", set, "answers", "2")
		s.reads("r", set, "questions")
		s.end(set, "questions", "1")
		s.end(set, "answers", "2")
	}},
	{"past a write of unknown outcome that was seen", check.Causal, func(s *script) {
		s.lost("p", set, "questions", "1", unknown)
		s.reads("q", set, "questions", "1")
		s.write("q", set, "answers", "2")
		s.reads("r", set, "answers", "2")
		s.reads("r", set, "questions")
		s.end(set, "questions", "1")
		s.end(set, "answers", "2")
	}},
	{"registers in order", "", func(s *script) {
		s.reads("p", register, "k")
		s.write("p", register, "k", "1")
		s.write("q", register, "k", "2")
		s.reads("p", register, "k", "1")
		s.reads("p", register, "k", "2")
		s.lost("p", register, "k", "3", unknown)
		s.reads("p", register, "k", "2")
		s.reads("p", register, "k", "3")
		s.end(register, "k", "3")
	}},
	{"an overwritten value comes back", check.CausalConvergence, func(s *script) { // WriteCORead
		s.write("p", register, "k", "1")
		s.reads("q", register, "k", "1")
		s.write("q", register, "k", "2")
		s.reads("r", register, "k", "2")
		s.reads("r", register, "k", "1")
		s.end(register, "k", "2")
	}},
	{"a register is empty after it was seen", check.CausalConvergence, func(s *script) { // WriteCOInitRead
		s.write("p", register, "k", "1")
		s.reads("q", register, "k", "1")
		s.reads("q", register, "k")
		s.end(register, "k", "1")
	}},
	{"own write to a register not read", check.ReadYourWrites, func(s *script) {
		s.write("p", register, "k", "1")
		s.write("p", register, "k", "2")
		s.reads("p", register, "k", "1")
		s.end(register, "k", "2")
	}},
	{"two see concurrent values in different orders", check.CausalConvergence, func(s *script) { // CyclicCF
		s.write("p", register, "k", "1")
		s.write("q", register, "k", "2")
		s.reads("r", register, "k", "1")
		s.reads("r", register, "k", "2")
		s.reads("t", register, "k", "2")
		s.reads("t", register, "k", "1")
		s.end(register, "k", "2")
	}},
	{"two writes that each saw the other", check.CausalConvergence, func(s *script) { // CyclicCO
		s.do(history.Op{Process: "p", Object: history.Siblings, Kind: history.Write, Key: "k", Value: "1", Saw: []string{"2"}})
		s.do(history.Op{Process: "q", Object: history.Siblings, Kind: history.Write, Key: "k", Value: "2", Saw: []string{"1"}})
		s.ops[0].End = s.ops[1].End
	}},
	{"a register goes back before a later write", check.NothingLost, func(s *script) {
		s.write("p", register, "k", "1")
		s.write("q", register, "k", "2")
		s.end(register, "k", "1")
	}},
	{"siblings", "", func(s *script) {
		s.replace("p", "1")
		s.replace("q", "2")
		s.replace("p", "3", "1", "2")
		s.replace("q", "4", "2")
		s.do(history.Op{Process: "r", Object: history.Siblings, Kind: history.Write, Key: "k", Value: "5", Saw: []string{"3", "4"}, Result: unknown})
		s.end(history.Siblings, "k", "3", "4")
	}},
	{"siblings, a write of unknown outcome was done", "", func(s *script) {
		s.replace("p", "1")
		s.do(history.Op{Process: "r", Object: history.Siblings, Kind: history.Write, Key: "k", Value: "2", Saw: []string{"1"}, Result: unknown})
		s.replace("p", "3", "2")
		s.end(history.Siblings, "k", "3")
	}},
	{"a sibling is lost", check.NothingLost, func(s *script) {
		s.replace("p", "1")
		s.replace("q", "2")
		s.end(history.Siblings, "k", "2")
	}},
	{"a replaced sibling is back", check.NothingLost, func(s *script) {
		s.replace("p", "1")
		s.replace("q", "2", "1")
		s.end(history.Siblings, "k", "1", "2")
	}},
	{"counters", "", func(s *script) {
		s.inc("p", 5, history.OK)
		s.inc("p", 7, unknown)
		s.inc("q", 3, unknown)
		s.inc("q", 2, refused)
		s.counted("p", "us-east", 5, false)
		s.counted("e", "us-east", 8, true)
		s.counted("f", "eu-west", 8, true)
	}},
	{"counters with decrements", "", func(s *script) {
		s.inc("p", 5, history.OK)
		s.inc("p", -7, unknown)
		s.inc("q", 3, unknown)
		s.counted("e", "us-east", 1, true)
	}},
	{"an increment is lost", check.CounterExact, func(s *script) {
		s.inc("p", 5, history.OK)
		s.inc("p", 1, history.OK)
		s.counted("e", "us-east", 5, true)
	}},
	{"an increment counts twice", check.CounterExact, func(s *script) {
		s.inc("p", 5, history.OK)
		s.inc("q", 3, unknown)
		s.counted("e", "us-east", 11, true)
	}},
	{"a sum that no choice of unknown increments gives", check.CounterExact, func(s *script) {
		s.inc("p", 5, history.OK)
		s.inc("q", 3, unknown)
		s.inc("q", -7, unknown)
		s.counted("e", "us-east", 4, true)
	}},
	{"own increment not read", check.CounterExact, func(s *script) {
		s.inc("p", 5, history.OK)
		s.counted("p", "us-east", 0, false)
		s.counted("e", "us-east", 5, true)
	}},
	{"a counter ahead of its time", check.CounterExact, func(s *script) {
		s.counted("p", "us-east", 5, false)
		s.inc("p", 5, history.OK)
		s.counted("e", "us-east", 5, true)
	}},
	{"an older value wins by a clock that is ahead", "", func(s *script) {
		s.do(history.Op{Process: "clock", Object: history.Clock, Kind: history.Write, Amount: int64(time.Hour)})
		s.write("p", register, "k", "1")
		s.write("q", register, "k", "2")
		s.end(register, "k", "1")
	}},
	{"an older value wins, though the newer one was written having seen it", check.NothingLost, func(s *script) {
		s.do(history.Op{Process: "clock", Object: history.Clock, Kind: history.Write, Amount: int64(time.Hour)})
		s.write("p", register, "k", "1")
		s.reads("q", register, "k", "1")
		s.write("q", register, "k", "2")
		s.reads("q", register, "k", "2")
		s.end(register, "k", "1")
	}},
	{"lists in order", "", func(s *script) {
		s.write("p", list, "k", "1")
		s.lost("p", list, "k", "2", unknown)
		s.write("q", list, "k", "4")
		s.write("p", list, "k", "3")
		s.reads("p", list, "k", "1", "3")
		s.reads("q", list, "k", "1", "4", "3", "2")
		s.end(list, "k", "1", "4", "3", "2")
	}},
	{"a writer's elements in the wrong order", check.ListOrder, func(s *script) {
		s.write("p", list, "k", "1")
		s.write("p", list, "k", "2")
		s.end(list, "k", "2", "1")
	}},
	{"elements change places", check.ListOrder, func(s *script) {
		s.write("p", list, "k", "1")
		s.write("q", list, "k", "2")
		s.reads("r", list, "k", "1", "2")
		s.end(list, "k", "2", "1")
	}},
	{"texts in order", "", func(s *script) {
		s.write("p", text, "k", "1")
		s.write("p", text, "k", "2")
		s.lost("q", text, "k", "3", unknown)
		s.reads("p", text, "k", "2", "1")
		s.end(text, "k", "3", "2", "1")
	}},
	{"words change places", check.ListOrder, func(s *script) {
		s.write("p", text, "k", "1")
		s.write("q", text, "k", "2")
		s.reads("r", text, "k", "1", "2")
		s.end(text, "k", "2", "1")
	}},
	{"a word is torn", check.ThinAir, func(s *script) {
		s.write("p", text, "k", "12")
		s.write("q", text, "k", "3")
		s.end(text, "k", "1", "3", "2")
	}},
	{"a word is lost", check.NothingLost, func(s *script) {
		s.write("p", text, "k", "1")
		s.end(text, "k")
	}},
	{"a word that was inserted is not read", check.ReadYourWrites, func(s *script) {
		s.write("p", text, "k", "1")
		s.reads("p", text, "k")
		s.end(text, "k", "1")
	}},
	{"a bank", "", func(s *script) {
		s.bank(history.Write, false, 10, 10)
		s.transfer("t1", "a", "b", 3, history.OK)
		s.transfer("t2", "b", "a", 5, unknown)
		s.transfer("t3", "b", "a", 5, unknown)
		s.bank(history.Read, false, 7, 13, "t1")
		s.bank(history.Read, true, 12, 8, "t1", "t2")
	}},
	{"half a transfer", check.BankSum, func(s *script) {
		s.bank(history.Write, false, 10, 10)
		s.transfer("t1", "a", "b", 3, history.OK)
		s.bank(history.Read, false, 7, 10)
		s.bank(history.Read, true, 7, 13, "t1")
	}},
	{"a transfer before its entry", check.Atomic, func(s *script) {
		s.bank(history.Write, false, 10, 10)
		s.transfer("t1", "a", "b", 3, history.OK)
		s.bank(history.Read, false, 7, 13)
		s.bank(history.Read, true, 7, 13, "t1")
	}},
	{"a transfer is lost", check.NothingLost, func(s *script) {
		s.bank(history.Write, false, 10, 10)
		s.transfer("t1", "a", "b", 3, history.OK)
		s.bank(history.Read, true, 10, 10)
	}},
}

func TestCheckersTellGoodFromBad(t *testing.T) {
	for _, h := range histories {
		t.Run(h.name, func(t *testing.T) {
			s := &script{}
			h.make(s)
			found := check.All(s.ops)
			switch {
			case h.want == "" && len(found) > 0:
				t.Errorf("reported: %v", found)
			case h.want != "" && !slices.ContainsFunc(found, func(v check.Violation) bool { return v.Check == h.want }):
				t.Errorf("%q was not reported, but: %v", h.want, found)
			}
		})
	}
}

// Every check has a history above that it reports.
func TestEveryCheckCanFail(t *testing.T) {
	for _, name := range []string{
		check.Convergence, check.NothingLost, check.ThinAir, check.CounterExact, check.ListOrder, check.BankSum, check.Atomic,
		check.ReadYourWrites, check.MonotonicReads, check.MonotonicWrites, check.WritesFollowReads, check.Causal, check.CausalConvergence,
	} {
		if !slices.ContainsFunc(histories, func(h struct {
			name string
			want string
			make func(s *script)
		},
		) bool {
			return h.want == name
		}) {
			t.Errorf("no history breaks %q", name)
		}
	}
}
