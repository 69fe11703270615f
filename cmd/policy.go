package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

func newPolicy(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Try a policy for conflicts before it is set",
		Long: `A collection's policy decides which of several concurrent versions is shown. It can be
changed at any time, since it changes nothing but what is shown.`,
		Example: `  meridian policy check resolve.js --collection carts`,
		GroupID: groupClient,
		Args:    cobra.ArbitraryArgs,
		RunE:    showHelp,
	}
	c.AddCommand(newPolicyCheck(a))
	return c
}

// plainPolicies are those that have no setting.
var plainPolicies = []string{"merge", "lww", "siblings", "max", "min"}

func newPolicyCheck(a *app) *cobra.Command {
	var (
		check  client.PolicyCheck
		field  string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Try a policy on generated conflicts and those of a collection",
		Long: `Have a region try a policy, without setting it: on conflicts that it generates, and on
those that a collection has, with a table of what the policy makes of these.

FILE is a script that declares resolve(versions, context), or a policy as it stands in a
collection's settings ("-" is standard input); the name of a policy without settings, such
as lww, or JSON itself, will do in its place.

The exit status is 1 if the policy fails, is not deterministic, or goes by the order of
the versions. A region would refuse it.`,
		Example: `  meridian policy check resolve.js --collection carts
  meridian policy check '{"region-priority": ["eu-west", "us-east"]}' --collection carts
  meridian policy check max --collection goods --field /price
  meridian policy check resolve.js --json | jq '.faults[].why'`,
		Args: exactArgs("FILE"),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&check.Collection, "collection", "", "try it on the conflicts of this `collection` too")
	c.Flags().StringVar(&check.Type, "type", "", "the `type` of the collection it is for, if there is none yet: document or register")
	c.Flags().StringVar(&field, "field", "", "try it as the rule for the fields of this `pattern`, such as /items/*/price")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		policy, err := a.readPolicy(c, args)
		if err != nil {
			return err
		}
		check.Policy = policy
		if field != "" {
			check.Policy = nil
			if check.Fields, err = json.Marshal(map[string]json.RawMessage{field: policy}); err != nil {
				return err
			}
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		r, err := cl.CheckPolicy(c.Context(), check)
		if err != nil {
			return err
		}
		if asJSON {
			err = a.printJSON(r.Raw)
		} else {
			err = a.printReport(check.Collection, r)
		}
		if err == nil && !r.OK {
			err = errSilent
		}
		return err
	}
	return c
}

// readPolicy reads a policy from a file: what is no JSON is a script.
func (a *app) readPolicy(c *cobra.Command, args []string) (json.RawMessage, error) {
	if slices.Contains(plainPolicies, args[0]) {
		return json.Marshal(args[0])
	}
	b, err := a.readInput(c, args)
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); json.Valid(b) {
		return b, nil
	}
	return json.Marshal(map[string]string{"script": string(b)})
}

func (a *app) printReport(collection string, r *client.PolicyReport) error {
	if d := r.Documents; d != nil {
		some := ""
		if d.Truncated {
			some = " first"
		}
		fmt.Fprintf(a.out, "Of the%s %s of %s, %s in conflict, and %s would show something else.\n", some, count(d.Scanned, "document"), printable(collection),
			areIs(d.Conflicted), strconv.Itoa(d.Changed))
	}
	if len(r.Outcomes) > 0 {
		fmt.Fprintln(a.out)
		if err := a.printTable(outcomeTable(r.Outcomes)); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	name := r.Policy
	if r.Hash != "" {
		name += " " + r.Hash
	}
	tried := fmt.Sprintf("%s of the collection and %s", count(r.Cases.Recorded, "conflict"), count(r.Cases.Generated, "generated one"))
	if r.OK {
		fmt.Fprintf(a.out, "The policy %s passes: tried on %s.\n", printable(name), tried)
		return nil
	}
	fmt.Fprintf(a.out, "The policy %s does not pass: tried on %s.\n", printable(name), tried)
	for _, f := range r.Faults {
		place := f.Case
		if f.Path != "" {
			place += ", at " + f.Path
		}
		fmt.Fprintf(a.out, "\n%s (%s): %s\n", printable(f.Kind), printable(place), printable(f.Why))
		if err := a.printTable(faultTable(f.Versions)); err != nil {
			return err
		}
	}
	return nil
}

func areIs(n int) string {
	if n == 1 {
		return "1 is"
	}
	return thousands(n) + " are"
}

func outcomeTable(all []client.PolicyOutcome) *table {
	tab := newTable("DOCUMENT", "PATH", "CHANGES", "SHOWN", "WHY")
	for _, o := range all {
		shown := "(left out: too long)"
		if o.Value != nil {
			shown = cell(o.Value)
		}
		for _, v := range o.Versions {
			if v.Shown && v.Value != nil {
				shown = cell(v.Value)
			}
		}
		changes := "no"
		if o.Changes {
			changes = "yes"
		}
		tab.add(o.ID, o.Path, changes, shown, o.Why)
	}
	return tab
}

func faultTable(all []client.Version) *table {
	tab := newTable("REGION", "STAMP", "DOT", "VALUE")
	for _, v := range all {
		value := "(left out)"
		if v.Value != nil {
			value = cell(v.Value)
		}
		tab.add(v.Region, v.Stamp, v.Dot, value)
	}
	return tab
}
