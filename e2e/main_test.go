package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// long makes the tests run in the sizes that the guarantees are stated for.
var long = flag.Bool("e2e.long", false, "run the long forms of the tests: minutes, not seconds")

// race looks for data races in the regions.
var race = flag.Bool("e2e.race", false, "build the program with the race detector")

// size is the short or the long form of a number.
func size(short, inLongForm int) int {
	if *long {
		return inLongForm
	}
	return short
}

func TestMain(m *testing.M) {
	flag.Parse()
	cluster.Race = *race
	status := m.Run()
	if err := errors.Join(cluster.RemoveBinary(), removeRepos()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}
