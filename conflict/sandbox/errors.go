package sandbox

import (
	"errors"
	"fmt"

	"github.com/dop251/goja"
)

// What can be wrong with a script.
var (
	// ErrSource: it is not a script of the kind that runs here.
	ErrSource = errors.New("bad script")
	// ErrLimit: it went over a budget. It always does, with the same arguments.
	ErrLimit = errors.New("over a limit")
	// ErrThrown: it threw an exception.
	ErrThrown = errors.New("exception")
	// ErrResult: it returned what cannot be shown.
	ErrResult = errors.New("bad result")
	// ErrTime: it was interrupted by the clock. It need not happen again.
	ErrTime = errors.New("interrupted")
)

// A stop ends a call from within a native. It wraps what goja lets no script
// catch.
type stop struct{ why string }

func (s *stop) Error() string { return s.why }
func (s *stop) Unwrap() error { return &goja.InterruptedError{} }

func limit(format string, args ...any) *stop { return &stop{fmt.Sprintf(format, args...)} }

// failure explains why a call failed. It runs no code of the script.
func (z *realm) failure(err error) error {
	var (
		s        *stop
		overflow *goja.StackOverflowError
		thrown   *goja.Exception
		clock    *goja.InterruptedError
	)
	switch {
	case errors.As(err, &s):
		return fmt.Errorf("%w: %s", ErrLimit, s.why)
	case errors.As(err, &overflow):
		return fmt.Errorf("%w: functions call one another more than %d deep", ErrLimit, MaxCalls)
	case errors.As(err, &clock):
		return fmt.Errorf("%w: it ran longer than %v", ErrTime, MaxTime)
	case errors.As(err, &thrown):
		return fmt.Errorf("%w: %s%s", ErrThrown, z.message(thrown.Value()), position(thrown))
	}
	return fmt.Errorf("%w: %w", ErrThrown, err)
}

// maxMessage bounds how much of a script's message is repeated.
const maxMessage = 200

func (z *realm) message(v goja.Value) string {
	if o, ok := v.(*goja.Object); ok {
		if o.ClassName() != "Error" {
			return "it threw an object"
		}
		name, _ := o.Get("name").(goja.String)
		message, _ := o.Get("message").(goja.String)
		if name == nil || message == nil {
			return "it threw an error"
		}
		return clip(name.String() + ": " + message.String())
	}
	if v == nil {
		return "it threw nothing"
	}
	return "it threw " + clip(v.String())
}

func clip(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	out := []rune(s)
	for i, r := range out {
		if r < ' ' || r == 0x7f {
			out[i] = ' '
		}
	}
	return string(out)
}

// position says where in the script an exception came from.
func position(e *goja.Exception) string {
	for _, f := range e.Stack() {
		if p := f.Position(); p.Line > 0 && f.SrcName() == scriptName {
			return fmt.Sprintf(" (line %d)", p.Line)
		}
	}
	return ""
}
