package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/topology"
)

func newRegion(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "region",
		Short: "Add regions to the cluster, remove and list them",
		Long: `Add regions to a cluster that runs, remove some for good, and list those that there are.
Who is a member is replicated like documents are: ask any region.`,
		Example: `  meridian region add sa-east --address 10.0.0.4:7400
  meridian region list
  meridian region remove sa-east`,
		GroupID: groupClient,
		Args:    cobra.ArbitraryArgs,
		RunE:    showHelp,
	}
	c.AddCommand(newRegionAdd(a), newRegionRemove(a), newRegionList(a))
	return c
}

func newRegionAdd(a *app) *cobra.Command {
	var (
		address string
		asJSON  bool
	)
	c := &cobra.Command{
		Use:   "add REGION --address HOST:PORT",
		Short: "Make a region a member, or change where it listens",
		Long: `Make a region a member of the cluster, or change the address at which the others reach it.
Any region can be asked, whether it reaches the others or not.

The new region needs a certificate and the address of any one member. It learns the
rest from that one, copies all documents while writes go on, and takes requests when it
has everything; "meridian status" asked of it says how far it is. If it is killed it goes
on where it was. A region that was not added is refused.

The others keep their logs for a member until it comes, or is removed: see "meridian
region remove". A region that was removed is added again in the same way.`,
		Example: `  meridian region add sa-east --address 10.0.0.4:7400

  # then, where it is to run
  meridian certs issue --dir certs --region sa-east
  meridian serve --region sa-east --cluster shop --data data/sa-east --tls-dir certs \
    --peer-listen 10.0.0.4:7400 --peers us-east=10.0.0.1:7400`,
		Args: exactArgs("REGION"),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&address, "address", "", "the UDP `address` at which the other regions reach it, its --peer-listen (needed)")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if address == "" {
			return usagef(c, "--address is missing: where does %s listen for the other regions?", args[0])
		}
		if err := region.CheckAddress(address); err != nil {
			return usageError{c, err}
		}
		if err := region.CheckName(args[0]); err != nil {
			return usageError{c, err}
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		added, err := cl.AddRegion(c.Context(), args[0], address)
		if err != nil {
			return err
		}
		switch {
		case asJSON:
			return a.printJSON(added.Raw)
		case added.Added:
			fmt.Fprintf(a.out, "%s is a member now. Start it with the address of any member in --peers, and it takes everything in.\n", added.Region)
		default:
			fmt.Fprintf(a.out, "%s is a member, at %s.\n", added.Region, printable(added.Address))
		}
		return nil
	}
	return c
}

func newRegionRemove(a *app) *cobra.Command {
	var (
		force, asJSON bool
		wait          time.Duration
	)
	c := &cobra.Command{
		Use:   "remove REGION",
		Short: "Remove a region for good",
		Long: `Remove a region from the cluster for good: the others go on without it, cut their logs and
forget what is deleted. Ask another region than the one that goes.

A region that can be heard is asked to leave: it stops taking writes, and its last ones
reach the others first. One that cannot is removed as it is: what it had written and no
other region had is not there; tokens that name it get 410 write-lost. All regions
that remain have to be reached, and be a majority of all. If some cannot be for now, the
removal goes on when they can: repeat the command to see what it waits for.

--force does not ask the region, and needs no majority: of two regions, one can only be removed by
force. Two halves of a cluster that remove each other by force are two clusters. A region that
takes no writes itself, since it waits for regions that do not come back, can be asked to remove
these by force: it gives up what only they have.

A store that was removed is refused when it comes back. Add the region again ("meridian
region add"), and it comes back as a new replica: it sets aside what no other region has,
takes everything in, and writes anew what it had set aside.`,
		Example: `  meridian region remove sa-east
  meridian region remove sa-east --force`,
		Args: exactArgs("REGION"),
	}
	t := a.addTarget(c)
	c.Flags().BoolVar(&force, "force", false, "do not ask the region, and do without a majority")
	c.Flags().DurationVar(&wait, "wait", defaultRemovalWait, "wait so long for the removal to be complete")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := region.CheckName(args[0]); err != nil {
			return usageError{c, err}
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		removal, err := removeRegion(c.Context(), cl, args[0], force, wait)
		if err != nil {
			return err
		}
		switch {
		case asJSON:
			return a.printJSON(removal.Raw)
		case removal.State == client.MemberRemoved:
			fmt.Fprintf(a.out, "%s is removed.\n", removal.Region)
		default:
			fmt.Fprintf(a.out, "%s is being removed; that waits for %s. It goes on by itself: repeat the command to see how far it is.\n",
				removal.Region, strings.Join(removal.Waiting, ", "))
		}
		return nil
	}
	return c
}

const (
	defaultRemovalWait = 10 * time.Second
	removalPoll        = 200 * time.Millisecond
)

// removeRegion asks for a removal, and waits until it is complete or time is up.
func removeRegion(ctx context.Context, cl *client.Client, name string, force bool, wait time.Duration) (*client.Removal, error) {
	deadline := time.Now().Add(wait)
	for {
		removal, err := cl.RemoveRegion(ctx, name, force)
		if err != nil || removal.State == client.MemberRemoved || time.Now().After(deadline) {
			return removal, err
		}
		select {
		case <-ctx.Done():
			return removal, ctx.Err()
		case <-time.After(removalPoll):
		}
	}
}

func newRegionList(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the regions of the cluster",
		Long: `List the members of the cluster as one region knows them. STATE is

  member   it takes part
  joining  it was added, and is not known to have taken everything in
  leaving  it is being removed
  removed  it was removed, and is no member

and LAG the changes held here that it is not known to hold.`,
		Example: `  meridian region list
  meridian region list --json | jq -r '.[] | select(.state == "joining") | .region'`,
		Args: exactArgs(),
	}
	t := a.addTarget(c)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		s, err := cl.Cluster(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(s.Members)
		}
		return a.printMembers(s, time.Now())
	}
	return c
}

func (a *app) printMembers(s *client.Cluster, now time.Time) error {
	seen := map[string]*client.Region{}
	for i := range s.Regions {
		seen[s.Regions[i].Region] = &s.Regions[i]
	}
	tab := newTable("REGION", "STATE", "LINK", "LAG", "HEARD", "ADDRESS")
	for _, m := range s.Members {
		link, lag, heard := unknown, unknown, "asked"
		if r := seen[m.Region]; r != nil {
			row := regionRow(r, now)
			link, lag, heard = row[1], row[3], row[6]
		}
		tab.add(m.Region, m.State, link, lag, heard, or(m.Address))
	}
	return a.printTable(tab)
}

func newTopology(a *app) *cobra.Command {
	var (
		spec   client.Topology
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "topology [mesh|ring|star]",
		Short: "Show or change the shape of the links",
		Long: `Show the shape of the links between the regions, or change it while they serve. It is
replicated like documents are: ask any region. From then on it counts instead of
--topology, --hub and --deputies of "meridian serve". Links that are no longer wanted
are kept until the new ones are there.`,
		Example: `  meridian topology
  meridian topology ring
  meridian topology star --hub us-east --deputies eu-west,ap-south`,
		GroupID: groupClient,
		Args:    rangeArgs(0, "KIND"),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&spec.Hub, "hub", "", "the `region` in the middle of a star")
	c.Flags().StringSliceVar(&spec.Deputies, "deputies", nil, "the `regions` that take the place of a star's hub, in this order")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 && (spec.Hub != "" || len(spec.Deputies) > 0) {
			return usagef(c, "--hub and --deputies go with star")
		}
		if len(args) == 1 {
			spec.Kind = args[0]
			check := topology.Spec{Kind: topology.Kind(spec.Kind), Hub: spec.Hub, Deputies: spec.Deputies}
			if err := check.Check(); err != nil {
				return usageError{c, err}
			}
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			raw, err := cl.SetTopology(c.Context(), spec)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(raw)
			}
		} else {
			s, err := cl.Cluster(c.Context())
			if err != nil {
				return err
			}
			if spec = s.Topology; asJSON {
				return a.printJSON(spec)
			}
		}
		fmt.Fprintln(a.out, shapeText(spec))
		return nil
	}
	return c
}
