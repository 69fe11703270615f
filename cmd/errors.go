package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

// A usageError is a wrong command line, environment or configuration file.
type usageError struct {
	c   *cobra.Command
	err error
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(c *cobra.Command, format string, args ...any) error {
	return usageError{c, fmt.Errorf(format, args...)}
}

// An advised error says what to do next.
type advised struct {
	err    error
	advice string
}

func (e advised) Error() string { return e.err.Error() }
func (e advised) Unwrap() error { return e.err }

func advise(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return advised{err, fmt.Sprintf(format, args...)}
}

// A silent error has been reported already, or is an answer in itself.
var errSilent = errors.New("")

// report writes what went wrong and what to do next, and returns the exit status.
func (a *app) report(ctx context.Context, c *cobra.Command, err error) int {
	var usage usageError
	switch {
	case errors.Is(err, errSilent):
		return StatusFailed
	case errors.As(err, &usage):
		fmt.Fprintf(a.err, "meridian: %v\n%q explains how to use it.\n", err, usage.c.CommandPath()+" --help")
		return StatusUsage
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(a.err, "meridian: interrupted")
	default:
		fmt.Fprintf(a.err, "meridian: %v\n", err)
	}
	if text := advice(c, err); text != "" {
		fmt.Fprintln(a.err, text)
	}
	return StatusFailed
}

// advice is what to do about an error.
func advice(c *cobra.Command, err error) string {
	var (
		own         advised
		unreachable *client.UnreachableError
		p           *client.ProblemError
	)
	switch {
	case errors.As(err, &own):
		return own.advice
	case errors.As(err, &unreachable):
		return `Is a region running there? "meridian serve" starts one, "meridian demo" three; --addr or MERIDIAN_ADDR names another.`
	case errors.As(err, &p):
		return problemAdvice(c, p)
	}
	return ""
}

// problemAdvice is what to do about an answer that is an error. Where the
// detail of the answer says it there is nothing to add.
func problemAdvice(c *cobra.Command, p *client.ProblemError) string {
	switch {
	case errors.Is(p, client.ErrUnknownCollection):
		return `The first "meridian put" into a collection makes it, unless the region runs with --strict-collections.`
	case p.Name() == "no-such-conflict":
		return `"meridian conflicts list" shows those that this region saw.`
	case p.Name() == "place-moved":
		return `Read the document with "meridian get --include", and send its ETag by --if-match.`
	case errors.Is(p, client.ErrNotFound) && c.Name() != nameVersions:
		return `"meridian list COLLECTION" shows what there is. A document written in another region a moment ago may be on its way.`
	case errors.Is(p, client.ErrPrecondition):
		return `Read it again with "meridian get --include", decide, and send the new ETag by --if-match.`
	case p.Name() == "too-many-siblings":
		return `"meridian versions" shows them; a put with --if-match and their ETag replaces them all.`
	case errors.Is(p, client.ErrUnavailable) && p.RetryAfter > 0:
		return fmt.Sprintf("Try again in %v, or another region by --addr.", p.RetryAfter)
	}
	return ""
}
