// Meridian is a multi-leader, geo-replicated JSON document store.
// "meridian help" says how to use it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/meridiandb/meridian/cmd"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	return cmd.Execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}
