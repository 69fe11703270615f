package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/topology"
)

// Config is what a core is told at its start.
type Config struct {
	// Region is this region's name, Cluster the name that all regions share.
	Region, Cluster string
	// Members are the names of all regions, this one included, until the first is
	// added: from then on the system collection says who they are.
	Members []string
	// Addresses are where the members of the configuration listen, as far as this
	// region knows.
	Addresses map[string]string
	// Topology is the shape of the links.
	Topology topology.Spec
	// StrictCollections refuses writes to collections that were not made explicitly.
	StrictCollections bool
	Limits            Limits
	Timing            Timing
	// MaxSkew bounds how far the clock follows stamps from the future.
	// Default crdt.DefaultMaxSkew.
	MaxSkew time.Duration
	// NewReplica mints a replica id that was never used before.
	NewReplica func() crdt.ReplicaID
	// Retention says how much of the log is kept beyond what is needed.
	Retention Retention
	// Refused are changes that could not be applied; they are not accepted
	// again, nor is anything that depends on them.
	Refused map[crdt.Dot]string
	// Discontinuous says that the store is a copy, or was put back to what it was
	// before (store.Store.Continuous): it goes on as a new replica.
	Discontinuous bool
}

// Validate reports what is missing or contradictory.
func (c *Config) Validate() error {
	switch {
	case c.Region == "" || c.Cluster == "":
		return fmt.Errorf("%w: a region and a cluster name are needed", ErrInvalid)
	case !slices.Contains(c.Members, c.Region):
		return fmt.Errorf("%w: the members %v lack the region %s itself", ErrInvalid, c.Members, c.Region)
	case c.NewReplica == nil:
		return fmt.Errorf("%w: NewReplica is needed", ErrInvalid)
	}
	return c.Topology.Check()
}
