package cmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/transport/certs"
)

const certsLong = `Make the certificates by which the regions of a cluster know each other.

A cluster has one authority, in a folder that "certs init" makes. With it, "certs issue"
makes a certificate for each region. A region needs three files: ca.crt, and its own
NAME.crt and NAME.key. Keep ca.key where only you can read it: whoever has it can join
the cluster as any region.`

func newCerts(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates of a cluster",
		Long:  certsLong,
		Example: `  meridian certs init --dir certs --cluster shop
  meridian certs issue --dir certs --region us-east
  meridian certs issue --dir certs --region eu-west --host eu.example.com`,
		GroupID: groupServe,
		Args:    cobra.ArbitraryArgs,
		RunE:    showHelp,
	}
	c.AddCommand(newCertsInit(a), newCertsIssue(a), newCertsEnsure(a))
	return c
}

// day is the unit in which validities are given.
const day = 24 * time.Hour

// maxValidDays keeps a date within what a certificate can say.
const maxValidDays = 100 * 365

func addDaysFlag(c *cobra.Command, days *int, d time.Duration) {
	c.Flags().IntVar(days, "days", int(d/day), "for how many days it is valid")
}

func checkDays(c *cobra.Command, days int) error {
	if days < 1 || days > maxValidDays {
		return usagef(c, "--days must be 1 to %d", maxValidDays)
	}
	return nil
}

// A madeCert is what a certs command prints for programs.
type madeCert struct {
	Cluster     string `json:"cluster,omitempty"`
	Region      string `json:"region,omitempty"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

func newCertsInit(a *app) *cobra.Command {
	var (
		dir, cluster string
		days         int
		asJSON       bool
	)
	c := &cobra.Command{
		Use:   "init --dir DIR --cluster NAME",
		Short: "Make the authority of a new cluster",
		Long: `Make the authority of a new cluster: DIR/ca.crt, which every region needs, and
DIR/ca.key, which only "certs issue" needs. Files that are there are not touched.`,
		Example: `  meridian certs init --dir certs --cluster shop`,
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkDays(c, days); err != nil {
				return err
			}
			if err := certs.CheckName(cluster); err != nil {
				return usagef(c, "--cluster: %w", err)
			}
			if err := certs.InitAuthority(dir, cluster, certs.Validity{Authority: time.Duration(days) * day}); err != nil {
				return err
			}
			made := madeCert{Cluster: cluster, Certificate: filepath.Join(dir, certs.AuthorityCert), Key: filepath.Join(dir, certs.AuthorityKey)}
			if asJSON {
				return a.printJSON(made)
			}
			fmt.Fprintf(a.out, "Made the authority of cluster %s: %s, and %s, which must stay secret.\n", cluster, made.Certificate, made.Key)
			fmt.Fprintf(a.out, "Next, for each region: meridian certs issue --dir %s --region NAME\n", dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "certs", "the `folder`; it is made if it is not there")
	c.Flags().StringVar(&cluster, "cluster", "meridian", "the cluster's `name`, as serve is told by --cluster")
	addDaysFlag(c, &days, certs.DefaultAuthorityValidity)
	addJSONFlag(c, &asJSON)
	return c
}

func newCertsIssue(a *app) *cobra.Command {
	var (
		dir, region string
		hosts       []string
		days        int
		asJSON      bool
	)
	c := &cobra.Command{
		Use:   "issue --dir DIR --region NAME",
		Short: "Make the certificate of a region",
		Long: `Make the certificate of a region with the authority in DIR: DIR/NAME.crt and
DIR/NAME.key. Files that are there are not touched; to renew a certificate move both away
first. A region that is running takes up a renewed one by itself.

A region is known by its name in the certificate, wherever it runs. Hosts can be put in
for other tools; Meridian does not look at them.`,
		Example: `  meridian certs issue --dir certs --region us-east
  meridian certs issue --dir certs --region eu-west --host eu.example.com --host 10.0.0.2`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkDays(c, days); err != nil {
				return err
			}
			if region == "" {
				return usagef(c, "--region is missing")
			}
			if err := certs.CheckName(region); err != nil {
				return usagef(c, "--region: %w", err)
			}
			err := certs.Issue(dir, region, hosts, certs.Validity{Region: time.Duration(days) * day})
			if errors.Is(err, certs.ErrName) {
				return usageError{c, err}
			}
			if err != nil {
				return err
			}
			made := madeCert{Region: region, Certificate: filepath.Join(dir, region+".crt"), Key: filepath.Join(dir, region+".key")}
			if asJSON {
				return a.printJSON(made)
			}
			fmt.Fprintf(a.out, "Made the certificate of region %s: %s and %s.\n", region, made.Certificate, made.Key)
			fmt.Fprintf(a.out, "Next: meridian serve --region %s --tls-dir %s … (with the authority's --cluster), where %s is there too.\n", region, dir, certs.AuthorityCert)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "certs", "the `folder` with the authority")
	c.Flags().StringVar(&region, "region", "", "the region's `name` (needed)")
	c.Flags().StringSliceVar(&hosts, "host", nil, "a `name` or address of the region's machine; can be given several times")
	addDaysFlag(c, &days, certs.DefaultRegionValidity)
	addJSONFlag(c, &asJSON)
	return c
}
