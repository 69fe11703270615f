package cmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/transport/certs"
)

func newCertsEnsure(a *app) *cobra.Command {
	var (
		dir, cluster string
		regions      []string
		days         int
		asJSON       bool
	)
	c := &cobra.Command{
		Use:   "ensure --dir DIR --cluster NAME --region NAME,…",
		Short: "Make what is missing of a cluster's certificates",
		Long: `Make what is missing of the certificates of a cluster in DIR: the authority, and a
certificate for each region named. What is there is left as it is, and checked to be this
cluster's, so that scripts can run it again and again.

Where the regions are run by different people, do it step by step with "certs init" and
"certs issue" instead, and keep ca.key away from all of them.`,
		Example: `  meridian certs ensure --dir certs --cluster shop --region us-east,eu-west,ap-south`,
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkDays(c, days); err != nil {
				return err
			}
			if len(regions) == 0 {
				return usagef(c, "--region is missing")
			}
			for flag, names := range map[string][]string{"cluster": {cluster}, "region": regions} {
				for _, name := range names {
					if err := certs.CheckName(name); err != nil {
						return usagef(c, "--%s: %w", flag, err)
					}
				}
			}
			return a.ensureCerts(dir, cluster, regions, certs.Validity{Region: time.Duration(days) * day}, asJSON)
		},
	}
	c.Flags().StringVar(&dir, "dir", "certs", "the `folder`; it is made if it is not there")
	c.Flags().StringVar(&cluster, "cluster", "meridian", "the cluster's `name`, as serve is told by --cluster")
	c.Flags().StringSliceVar(&regions, "region", nil, "the regions' `names` (needed)")
	addDaysFlag(c, &days, certs.DefaultRegionValidity)
	addJSONFlag(c, &asJSON)
	return c
}

func (a *app) ensureCerts(dir, cluster string, regions []string, v certs.Validity, asJSON bool) error {
	tell := func(made madeCert, err error) error {
		switch {
		case asJSON && (err == nil || errors.Is(err, certs.ErrExists)):
			return a.printJSON(made)
		case err == nil:
			fmt.Fprintf(a.out, "Made %s\n", made.Certificate)
		case errors.Is(err, certs.ErrExists):
			fmt.Fprintf(a.out, "Kept %s\n", made.Certificate)
		default:
			return err
		}
		return nil
	}
	made := madeCert{Cluster: cluster, Certificate: filepath.Join(dir, certs.AuthorityCert), Key: filepath.Join(dir, certs.AuthorityKey)}
	if err := tell(made, certs.InitAuthority(dir, cluster, v)); err != nil {
		return err
	}
	for _, region := range regions {
		err := certs.Issue(dir, region, nil, v)
		if err != nil && !errors.Is(err, certs.ErrExists) {
			return err
		}
		folder, loadErr := certs.Load(dir, region, nil)
		if loadErr != nil {
			return loadErr
		}
		own, loadErr := folder.Credentials()
		if loadErr != nil {
			return loadErr
		}
		if want := (certs.Identity{Cluster: cluster, Region: region}); own.Identity != want {
			return advise(fmt.Errorf("%w: %s says %s, not %s", certs.ErrCluster, filepath.Join(dir, region+".crt"), own.Identity, want),
				"Use another folder for each cluster.")
		}
		made := madeCert{Region: region, Certificate: filepath.Join(dir, region+".crt"), Key: filepath.Join(dir, region+".key")}
		if err := tell(made, err); err != nil {
			return err
		}
	}
	return nil
}
