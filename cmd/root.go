// Package cmd is the command line. Each subcommand has a file of its own; [Execute]
// runs one, and is all that main calls. Nothing here ends the process.
//
// A subcommand is a function that takes the [app], which has the streams, and
// returns a cobra command; it is listed in newRoot. Run functions return errors:
// a usageError for what the command line got wrong, and advise(err, …) where
// there is something to be done about it.
package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit statuses.
const (
	StatusDone   = 0
	StatusFailed = 1
	StatusUsage  = 2
)

// The groups of subcommands in the help of the root.
const (
	groupServe  = "serve"
	groupClient = "client"
	groupBulk   = "bulk"
)

// An app is what all subcommands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	// atEnd closes what a command has opened, such as connections.
	atEnd []func()
}

// Execute runs the command line args, without the program's name, and returns
// the exit status. Commands end early, but orderly, when ctx ends.
func Execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	root := newRoot(a)
	root.SetArgs(append([]string{}, args...)) // of nil cobra takes the process's
	c, err := root.ExecuteContextC(ctx)
	for _, f := range a.atEnd {
		f()
	}
	if err == nil {
		return StatusDone
	}
	return a.report(ctx, c, err)
}

const rootLong = `Meridian is a multi-leader, geo-replicated JSON document store. Every region takes
writes locally, keeps them durably, and exchanges them with the other regions. Regions
stay writable when the links between them are cut, and hold the same documents again
once the links are back.`

const rootExample = `  # See it at work: three regions on this machine, a cut link, a conflict, healing
  meridian demo

  # One region of your own
  meridian certs init --dir certs --cluster shop
  meridian certs issue --dir certs --region us-east
  meridian serve --region us-east --cluster shop --data data/us-east --tls-dir certs

  # Use it, from another terminal (or with curl, at http://127.0.0.1:8080)
  meridian put carts c1 '{"items": ["tea"]}'
  meridian patch carts c1 '{"paid": true}'
  meridian get carts c1
  meridian status`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "meridian",
		Short:         "A multi-leader, geo-replicated JSON document store",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          showHelp,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError{c, err} })
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(newHelp())
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Run regions:"},
		&cobra.Group{ID: groupClient, Title: "Use a region:"},
		&cobra.Group{ID: groupBulk, Title: "Move data:"},
	)
	for _, c := range []*cobra.Command{
		newDemo(a), newServe(a), newCerts(a), newBench(a), newDrill(a),
		newGet(a), newPut(a), newPatch(a), newDelete(a), newList(a), newVersions(a), newWatchChanges(a), newConflicts(a), newPolicy(a), newHome(a),
		newStatus(a), newRegion(a), newTopology(a), newVerify(a),
		newImport(a), newExport(a), newBackup(a), newRestore(a),
		newVersion(a),
	} {
		root.AddCommand(c)
	}
	return root
}

// showHelp is what a command that only has subcommands does.
func showHelp(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	text := fmt.Sprintf("there is no command %q", strings.TrimPrefix(c.CommandPath()+" "+args[0], "meridian "))
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf("; did you mean %q?", strings.Join(near, `" or "`))
	}
	return usagef(c, "%s", text)
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Explain a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			target, rest, err := c.Root().Find(args)
			if err != nil || target == nil {
				return usageError{c.Root(), err}
			}
			if len(rest) > 0 {
				return showHelp(target, rest)
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}

// exactArgs is cobra.ExactArgs with names in its message.
func exactArgs(names ...string) cobra.PositionalArgs { return rangeArgs(len(names), names...) }

// rangeArgs asks for the arguments of these names, of which the first few are needed.
func rangeArgs(needed int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < needed:
			return usagef(c, "%s is missing", strings.Join(names[len(args):needed], " and "))
		case len(args) > len(names) && len(names) == 0:
			return usagef(c, "%q takes no arguments, and not %q", c.CommandPath(), args[0])
		case len(args) > len(names):
			return usagef(c, "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// needArgs asks for one argument or more, each of this name.
func needArgs(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef(c, "%s is missing", name)
		}
		return nil
	}
}

// exclusive refuses that several of these flags are given.
func exclusive(c *cobra.Command, names ...string) error {
	given := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !c.Flags().Changed(n) })
	if len(given) > 1 {
		return usagef(c, "give one of --%s, not both", strings.Join(given, " and --"))
	}
	return nil
}

// isTerminal tells whether a stream is a terminal that a person looks at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// usageTemplate shows first how a command is called and then examples, since
// that is what most people look for.
const usageTemplate = `Usage:
{{if .Runnable}}{{if .HasAvailableSubCommands}}  {{.CommandPath}} COMMAND{{else}}  {{.UseLine}}{{end}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}

{{if .Groups}}Other commands:{{else}}Commands:{{end}}{{range $cmds}}{{if (and (eq .GroupID "") (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" explains a command.{{end}}
`
