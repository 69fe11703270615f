//go:build !linux

package e2e

import (
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// A fillable is a disk of one region that can be made too small.
type fillable struct{ node *cluster.Node }

// newFillable returns nil: there is none here.
func newFillable(t *testing.T, _ *cluster.Node) *fillable {
	t.Helper()
	t.Log("NOT TESTED: a full disk in the course of chaos: it is made with a file system in memory of Linux")
	return nil
}

func (f *fillable) fill(*testing.T) (free func()) { return func() {} }
