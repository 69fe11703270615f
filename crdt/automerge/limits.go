package automerge

import (
	"errors"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// Bounds of one document, for local writers and clients. What peers have
// accepted is always applied.
const (
	// MaxChangeOps is the greatest number of operations of one write. Each
	// character of a text is one.
	MaxChangeOps = 100_000
	// MaxOps is the greatest number of operations in a document's history.
	MaxOps = 500_000
	// MaxChanges is the greatest number of changes in a document's history.
	MaxChanges = 100_000
	// MaxImport is the most bytes that a client may bring at once, and
	// MaxInflated what a chunk of them may inflate to.
	MaxImport   = 8 << 20
	MaxInflated = 16 << 20
	// MaxPayload is the greatest size of a mutation's payload.
	MaxPayload = crdt.MaxChangeBytes / 2
	// MaxDepth is the greatest nesting of a document.
	MaxDepth = 64
)

// Tails are compacted when they outgrow minTail and half of the saved document.
const minTail = 8 << 10

var importLimits = validate.Limits{
	Message: MaxImport, Inflated: MaxInflated, ChangeOps: MaxChangeOps, Ops: MaxOps, Changes: MaxChanges, Depth: MaxDepth,
}

// peerLimits hold for what another region has accepted.
var peerLimits = validate.Limits{
	Message: crdt.MaxChangeBytes, Inflated: 2 * crdt.MaxChangeBytes, ChangeOps: 10 * MaxChangeOps, Ops: 10 * MaxOps, Changes: 10 * MaxChanges,
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{crdt.ErrCorrupt}, args...)...)
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{crdt.ErrRefused}, args...)...)
}

func conflict(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{crdt.ErrConflict}, args...)...)
}

// refusal turns an error of package validate into one of package crdt.
func refusal(err error) error {
	switch {
	case errors.Is(err, validate.ErrTooLarge):
		return fmt.Errorf("%w: %w", crdt.ErrTooLarge, err)
	case errors.Is(err, validate.ErrMissing):
		return fmt.Errorf("%w: %w", crdt.ErrConflict, err)
	}
	return fmt.Errorf("%w: %w", crdt.ErrRefused, err)
}
