package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// long makes the tests run in the sizes that ARCHITECTURE.md and README.md quote.
var long = flag.Bool("e2e.long", false, "run the long forms of the tests: minutes, not seconds")

// size is the short or the long form of a number.
func size(short, inLongForm int) int {
	if *long {
		return inLongForm
	}
	return short
}

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	if err := cluster.RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}
