package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

// addrFlag says where the regions are.
const addrFlag = "addr"

// A target is the region that a client command talks to.
type target struct {
	a     *app
	addrs []string
}

func (a *app) addTarget(c *cobra.Command) *target {
	t := &target{a: a}
	c.Flags().StringSliceVar(&t.addrs, addrFlag, []string{client.DefaultAddr},
		"the region's `address`, host:port or URL; of several the nearest that is ready is taken (or "+envName(addrFlag)+")")
	markSettings(c, addrFlag)
	return t
}

// clients returns a client for each address.
func (t *target) clients(c *cobra.Command) ([]*client.Client, error) {
	if err := loadSettings(c); err != nil {
		return nil, err
	}
	all := make([]*client.Client, 0, len(t.addrs))
	for _, addr := range t.addrs {
		cl, err := client.New(addr)
		if err != nil {
			return nil, usagef(c, "--%s: %w", addrFlag, err)
		}
		t.a.atEnd = append(t.a.atEnd, cl.Close)
		all = append(all, cl)
	}
	if len(all) == 0 {
		return nil, usagef(c, "--%s is empty", addrFlag)
	}
	return all, nil
}

// connect returns a client of the nearest region, and of the others if it fails.
func (t *target) connect(c *cobra.Command) (*client.Client, error) {
	all, err := t.clients(c)
	if err != nil {
		return nil, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	cl, err := client.Open(c.Context(), t.addrs...)
	if err == nil {
		t.a.atEnd = append(t.a.atEnd, cl.Close)
	}
	return cl, err
}

// maxInputBytes bounds a document or patch that is read here. What a region
// takes is less by default; it says so.
const maxInputBytes = 16 << 20

// readInput reads what an argument means: JSON itself, which starts with { or [,
// "-" for standard input, or a file. Without an argument it is standard input.
func (a *app) readInput(c *cobra.Command, args []string) ([]byte, error) {
	arg := "-"
	if len(args) > 0 {
		arg = args[0]
	} else if isTerminal(a.in) {
		return nil, usagef(c, "what is to be written? give JSON, a file, or - for standard input")
	}
	if text := strings.TrimSpace(arg); strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		return []byte(text), nil
	}
	in := a.in
	if arg != "-" {
		f, err := openInput(c, arg)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInputBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", arg, err)
	}
	if len(b) > maxInputBytes {
		return nil, fmt.Errorf("%s has more than %d MiB; \"meridian import\" takes files of many documents", arg, maxInputBytes>>20)
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		return nil, usagef(c, "there is nothing in %s", arg)
	}
	return b, nil
}

// openInput opens a file that is named on the command line.
func openInput(c *cobra.Command, path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef(c, "there is no file %s; JSON itself starts with { or [, and - is standard input", path)
	}
	return f, err
}
