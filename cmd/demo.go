package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/meridiandb/meridian/cmd/demo"
	"github.com/meridiandb/meridian/topology"
)

const demoLong = `See Meridian at work: several regions on this machine, linked by real QUIC over loopback,
each with a real store on disk. A walk of a few seconds writes in one region and reads in
another, cuts links, edits the same documents on both sides, mends the links, and shows
and checks what became of each edit. It prints the curl commands that do the same.

Afterwards the regions stay up, with fault injection on, until Ctrl-C.

The exit status is 1 if a check failed.`

const demoExample = `  meridian demo
  meridian demo --topology star --regions 5
  meridian demo --exit                       # leave after the walk
  meridian demo --skip-walk --data my-demo   # only the regions, and keep what they hold`

func newDemo(a *app) *cobra.Command { return demoCommand(a, demo.Run) }

// demoCommand is newDemo with what it runs.
func demoCommand(a *app, run func(context.Context, demo.Config) error) *cobra.Command {
	var (
		cfg     demo.Config
		kind    string
		verbose bool
	)
	c := &cobra.Command{
		Use:     "demo [flags]",
		Short:   "See it at work: several regions, a cut link, conflicts, healing",
		Long:    demoLong,
		Example: demoExample,
		GroupID: groupServe,
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			if cfg.HTTPBase < 0 {
				return usagef(c, "--http-base must be a port, or 0 for free ones")
			}
			cfg.Topology = topology.Kind(kind)
			cfg.Out = a.out
			if verbose {
				cfg.Log = a.err
			}
			a.setTerminal(&cfg)
			return demoError(c, cfg, run(c.Context(), cfg))
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.Regions, "regions", 3, fmt.Sprintf("how `many` regions, 1 to %d", demo.MaxRegions))
	f.StringVar(&kind, "topology", string(topology.Mesh), "the `shape` of the links: mesh, ring or star")
	f.IntVar(&cfg.HTTPBase, "http-base", 8080, "the `port` of the first region; the others follow. 0 takes free ones")
	f.StringVar(&cfg.Data, "data", "", "keep the stores and the log in this `folder` (default a temporary one)")
	f.BoolVar(&cfg.Exit, "exit", false, "leave after the walk")
	f.BoolVar(&cfg.SkipWalk, "skip-walk", false, "only bring the regions up")
	f.BoolVar(&verbose, "verbose", false, "show on standard error what the regions log")
	f.SortFlags = false
	return c
}

// setTerminal says what the terminal can do, if there is one.
func (a *app) setTerminal(cfg *demo.Config) {
	out, ok := a.out.(*os.File)
	if !ok || !isTerminal(out) {
		return
	}
	cfg.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if width, _, err := term.GetSize(int(out.Fd())); err == nil {
		cfg.Width = width
	}
}

// demoError says what to do about an error.
func demoError(c *cobra.Command, cfg demo.Config, err error) error {
	var port *demo.PortError
	switch {
	case errors.Is(err, demo.ErrConfig):
		return usageError{c, err}
	case errors.As(err, &port):
		return advise(err, "Is another demo running? Choose other ports by --http-base, such as --http-base %d, or 0 for free ones.", cfg.HTTPBase+1000)
	}
	return err
}
