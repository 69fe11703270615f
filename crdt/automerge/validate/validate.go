// Package validate reads the binary formats of Automerge in Go: changes,
// documents and sync messages, as clients send them. Nothing of it reaches the
// Automerge library before it has been through here: the library is built with
// panic=abort and can be killed by a few well-chosen bytes.
//
// A change is decoded to its operations and encoded again; only if that gives
// the same bytes is it one that the library would have written, and what the
// library saves of it can be loaded again. A document is taken apart into its
// changes, whose hashes must lead to the heads that it names, so that a
// document chunk itself never reaches the library. [Index] then checks changes
// against the history that they extend.
//
// The formats: https://automerge.org/automerge-binary-format-spec/ and, for
// sync messages, Kleppmann and Howard: Byzantine Eventual Consistency (2020).
package validate

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Hash names a change: the SHA-256 of its chunk.
type Hash [32]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

var (
	// ErrInvalid means bytes that Automerge does not write.
	ErrInvalid = errors.New("not valid Automerge data")
	// ErrTooLarge means data beyond the limits.
	ErrTooLarge = errors.New("too much Automerge data")
	// ErrMissing means a change that depends on others that are not there.
	ErrMissing = errors.New("changes that others depend on are missing")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrTooLarge}, args...)...)
}

// Limits bound what is read. A field that is zero stands for its default.
type Limits struct {
	// Message bounds the bytes handed in at once.
	Message int
	// Inflated bounds what the compressed parts of one chunk inflate to.
	Inflated int
	// ChangeOps bounds the operations of a change. Each character is one.
	ChangeOps int
	// Ops bounds the operations of a whole history.
	Ops int
	// Changes bounds the changes of a history.
	Changes int
	// Depth bounds the nesting of objects.
	Depth int
}

// DefaultLimits hold for what clients send. A history of as many operations
// takes the library some 275 MB.
var DefaultLimits = Limits{
	Message: 8 << 20, Inflated: 16 << 20,
	ChangeOps: 100_000, Ops: 500_000, Changes: 100_000, Depth: 64,
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	for _, f := range []struct{ have, standard *int }{
		{&l.Message, &d.Message}, {&l.Inflated, &d.Inflated}, {&l.ChangeOps, &d.ChangeOps},
		{&l.Ops, &d.Ops}, {&l.Changes, &d.Changes}, {&l.Depth, &d.Depth},
	} {
		if *f.have <= 0 {
			*f.have = *f.standard
		}
	}
	return l
}

// Bounds that honest data does not come near.
const (
	maxActor   = 128     // bytes of an actor id
	maxActors  = 1 << 16 // that one chunk names
	maxDeps    = 4096    // of one change
	maxText    = 1 << 16 // bytes of a commit message
	maxCounter = 1<<31 - 1
	maxTime    = 1 << 53
)
