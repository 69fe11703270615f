// Package history records what clients asked of a cluster and what they were
// told: one line of JSON per operation. Package check judges such a file without
// knowing anything of the cluster.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A Result is what the client knows of an operation's outcome.
type Result string

// Results.
const (
	// OK: it was done, and acknowledged.
	OK Result = "ok"
	// Refused: it was not done, and never will be.
	Refused Result = "refused"
	// Unknown: no answer came, or one that leaves it open. It may have been done,
	// or may be done later, or never.
	Unknown Result = "unknown"
)

// A Kind is what an operation does.
type Kind string

// Kinds. A read is of all that there is under its key, at one moment.
const (
	Read     Kind = "read"
	Write    Kind = "write"    // a register: replaces what is there; a clock: shifts it
	Add      Kind = "add"      // a set: adds Value
	Inc      Kind = "inc"      // a counter: adds Amount
	Append   Kind = "append"   // a list: appends Value
	Insert   Kind = "insert"   // a text: inserts Value somewhere
	Transfer Kind = "transfer" // a bank: moves Amount From one account To another
)

// An Object is a type of what is stored under a key.
type Object string

// Objects.
const (
	// Register has one value; of concurrent ones one is shown.
	Register Object = "register"
	// Siblings is a register that shows all concurrent values, whose writes say
	// which of them they replace, exactly.
	Siblings Object = "siblings"
	Set      Object = "set"
	Counter  Object = "counter"
	List     Object = "list"
	// Text is a text of words, each of which was inserted whole.
	Text Object = "text"
	// Clock is that of a region, shifted by Amount nanoseconds.
	Clock Object = "clock"
	// Bank has accounts, and a book of the transfers that were made.
	Bank Object = "bank"
)

// An Op is one operation of one process. A process does one at a time, and
// carries the token of each answer to its next operation, in whatever region.
type Op struct {
	Process string `json:"process"`
	Region  string `json:"region"`
	Object  Object `json:"object"`
	Kind    Kind   `json:"kind"`
	Key     string `json:"key"`
	// Value is what is written, added, appended or inserted, and names a transfer. It is used
	// once only under a key.
	Value string `json:"value,omitempty"`
	// Amount is that of an increment, a transfer, or a counter that was read.
	Amount int64  `json:"amount,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	// Values are what was read; a register that was never written has none. Of a
	// bank they are the book.
	Values []string `json:"values,omitempty"`
	// Saw are the siblings that a write replaces.
	Saw []string `json:"saw,omitempty"`
	// Balances are the accounts that were read.
	Balances map[string]int64 `json:"balances,omitempty"`
	// Start and End are counted from the start of the history.
	Start  time.Duration `json:"start"`
	End    time.Duration `json:"end"`
	Result Result        `json:"result"`
	// Error is why, unless OK.
	Error string `json:"error,omitempty"`
	// Token is what the answer brought.
	Token string `json:"token,omitempty"`
	// Final marks reads after all operations, when all regions hold the same.
	Final bool `json:"final,omitempty"`
}

// String tells the operation for a report.
func (o Op) String() string {
	short := o
	short.Token = ""
	b, err := json.Marshal(short)
	if err != nil {
		return err.Error()
	}
	const shown = 400
	if len(b) > shown {
		return string(b[:shown]) + "…"
	}
	return string(b)
}

// A Recorder writes a history to a file. Any goroutine may use it.
type Recorder struct {
	start time.Time

	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	enc  *json.Encoder
	err  error
}

// Create makes the file.
func Create(path string) (*Recorder, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	r := &Recorder{start: time.Now(), file: f, buf: bufio.NewWriter(f)}
	r.enc = json.NewEncoder(r.buf)
	return r, nil
}

// Now is the time since the start of the history.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// Record writes one operation. Close tells if that failed.
func (r *Recorder) Record(op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = r.enc.Encode(op)
	}
}

// Close writes what is left.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.buf.Flush(), r.file.Close())
}

// Load reads a file. The operations of each process are in their order.
func Load(path string) ([]Op, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ops []Op
	for dec := json.NewDecoder(bufio.NewReader(f)); ; {
		var op Op
		switch err := dec.Decode(&op); {
		case errors.Is(err, io.EOF):
			return ops, nil
		case err != nil:
			return nil, fmt.Errorf("%s, operation %d: %w", path, len(ops)+1, err)
		}
		ops = append(ops, op)
	}
}
