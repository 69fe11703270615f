package bench

import "strings"

// An op is a kind of request.
type op int

// The kinds of requests.
const (
	opRead op = iota
	opUpdate
	opInsert
	opScan
	opModify // read, change, write
	opIncrement
	opPush
	opPop
	opBatch
	opPublish // a new document that says when it was sent
	opCount
)

var opNames = [opCount]string{
	"read", "update", "insert", "scan", "read-modify-write", "increment", "push", "pop", "batch", "publish",
}

func (o op) String() string { return opNames[o] }

// writes reports whether the operation makes a change.
func (o op) writes() bool { return o != opRead && o != opScan }

// A Workload is a mixture of requests.
type Workload struct {
	Name string
	// About says what it is, in a few words.
	About string
	mix   []share
	// keys is how documents are chosen unless the configuration says otherwise.
	keys string
	// records is how many documents there are, unless the configuration says
	// otherwise; 0 means DefaultRecords.
	records int
	// documents says that the collection has to be of type document.
	documents bool
	// empty says that nothing is loaded before.
	empty bool
	// feeds says that Config.Readers follow the collection's changes.
	feeds bool
}

type share struct {
	op      op
	percent int
}

// Hot documents of the workloads in which all regions write the same ones.
const (
	hotDocuments = 16
	counters     = 100
	queues       = 100
)

// Workloads are all there are. A to F are those of the Yahoo! Cloud Serving
// Benchmark (Cooper et al., 2010).
var Workloads = []Workload{
	{Name: "A", About: "half reads, half updates of one field", keys: KeysZipfian, mix: []share{{opRead, 50}, {opUpdate, 50}}},
	{Name: "B", About: "95 % reads, 5 % updates of one field", keys: KeysZipfian, mix: []share{{opRead, 95}, {opUpdate, 5}}},
	{Name: "C", About: "reads", keys: KeysZipfian, mix: []share{{opRead, 100}}},
	{Name: "D", About: "95 % reads of what is newest, 5 % new documents", keys: KeysLatest, mix: []share{{opRead, 95}, {opInsert, 5}}},
	{Name: "E", About: "95 % lists of up to 100 documents, 5 % new documents", keys: KeysZipfian, mix: []share{{opScan, 95}, {opInsert, 5}}},
	{Name: "F", About: "half reads, half reads followed by an update", keys: KeysZipfian, mix: []share{{opRead, 50}, {opModify, 50}}},
	{Name: "insert", About: "new documents", keys: KeysUniform, mix: []share{{opInsert, 100}}, empty: true},
	{Name: "update", About: "updates of one field; of a register, of all", keys: KeysUniform, mix: []share{{opUpdate, 100}}},
	{Name: "conflict", About: "updates of one field of a few documents, in all regions at once", keys: KeysUniform,
		mix: []share{{opUpdate, 100}}, records: hotDocuments},
	{Name: "counter", About: "increments of counters; the sums are checked at the end", keys: KeysUniform,
		mix: []share{{opIncrement, 100}}, records: counters, documents: true},
	{Name: "list", About: "pushes to the ends of lists and removals from their fronts", keys: KeysUniform,
		mix: []share{{opPush, 50}, {opPop, 50}}, records: queues, documents: true},
	{Name: "batch", About: "changes of several documents at once", keys: KeysUniform, mix: []share{{opBatch, 100}}, empty: true},
	{Name: "feed", About: "new documents, which --readers change feeds follow in all regions", keys: KeysUniform,
		mix: []share{{opPublish, 100}}, empty: true, feeds: true},
}

// WorkloadNames are the names of Workloads.
func WorkloadNames() []string {
	names := make([]string, len(Workloads))
	for i, w := range Workloads {
		names[i] = w.Name
	}
	return names
}

func workloadOf(name string) (Workload, bool) {
	for _, w := range Workloads {
		if strings.EqualFold(w.Name, name) {
			return w, true
		}
	}
	return Workload{}, false
}

// pick chooses a request by a number from 0 to 99.
func (w *Workload) pick(n int) op {
	for _, s := range w.mix {
		if n -= s.percent; n < 0 {
			return s.op
		}
	}
	return w.mix[0].op
}

// writes reports whether the workload makes changes.
func (w *Workload) writes() bool {
	for _, s := range w.mix {
		if s.op.writes() {
			return true
		}
	}
	return false
}
