package cmd

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/topology"
)

func newRegion(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "region",
		Short: "Add regions to the cluster, and list them",
		Long: `Add regions to a cluster that runs, and list those that there are. Who is a member is
replicated like documents are: ask any region.`,
		Example: `  meridian region add sa-east --address 10.0.0.4:7400
  meridian region list`,
		GroupID: groupClient,
		Args:    cobra.ArbitraryArgs,
		RunE:    showHelp,
	}
	c.AddCommand(newRegionAdd(a), newRegionList(a))
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

A member cannot be removed again, and the others keep their logs for it until it comes.`,
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

func newRegionList(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the regions of the cluster",
		Long: `List the members of the cluster as one region knows them. STATE is

  member   it takes part
  joining  it was added, and is not known to have taken everything in

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
