package value

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with input. The errors that this package returns wrap one
// of these.
var (
	// ErrSyntax means bytes that are not JSON as RFC 8259 and RFC 7493 have it.
	// Duplicate member names, invalid UTF-8 and lone surrogates count.
	ErrSyntax = errors.New("malformed JSON")
	// ErrNotObject means a value that is not an object where one is needed.
	ErrNotObject = errors.New("not a JSON object")
	// ErrTooDeep means arrays and objects nested deeper than [Limits] allow.
	ErrTooDeep = errors.New("nested too deeply")
	// ErrTooLarge means more bytes, items or operations than allowed.
	ErrTooLarge = errors.New("too large")
	// ErrNumber means a number that cannot be kept exactly.
	ErrNumber = errors.New("number cannot be kept exactly")
	// ErrReserved means a malformed typed value, or a name that is reserved
	// for typed values used for something else.
	ErrReserved = errors.New("reserved name")
	// ErrBinary means bytes that [AppendBinary] does not write.
	ErrBinary = errors.New("malformed binary value")
	// ErrPointer means a string that is not a JSON pointer (RFC 6901).
	ErrPointer = errors.New("malformed JSON pointer")
	// ErrPatch means a patch whose JSON is fine and whose operations are not.
	ErrPatch = errors.New("malformed patch")
	// ErrPatchPath means an operation on a place that the target lacks.
	ErrPatchPath = errors.New("no such place in the document")
	// ErrPatchTest means an operation "test" that found another value.
	ErrPatchTest = errors.New("test failed")
	// ErrNotValue means a Go value that is none of the kinds of this package.
	ErrNotValue = errors.New("not a JSON value")
)

// Error says what is wrong with a value, and where.
type Error struct {
	Err     error  // one of the sentinels above
	Detail  string // what exactly, or ""
	Pointer string // JSON pointer to the offending value, or "" (unknown, or the root)
	Offset  int64  // of the offending byte in the input, or -1 when there is no input
}

// maxQuoted is how many bytes of its input an error message repeats in one place.
const maxQuoted = 80

// Error implements error. The message is short whatever the input was.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Err.Error())
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	if e.Pointer != "" {
		fmt.Fprintf(&b, " at %q", clip(e.Pointer))
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " (byte %d)", e.Offset)
	}
	return b.String()
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// clip shortens s for a message.
func clip(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
}
