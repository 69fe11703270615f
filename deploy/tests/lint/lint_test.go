// Package lint has a linter look at what the chart renders to: at the golden
// files of the module around it, which a test there keeps up to date. It is a
// module of its own, since the linter needs older types of Kubernetes.
package lint

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/zegl/kube-score/config"
	"github.com/zegl/kube-score/domain"
	"github.com/zegl/kube-score/parser"
	"github.com/zegl/kube-score/score"
	"github.com/zegl/kube-score/score/checks"
	"github.com/zegl/kube-score/scorecard"
)

// accepted are findings that are meant to be so, by render ("" is any), and why.
var accepted = map[[2]string]string{
	{"", "container-image-pull-policy"}:  "a tag is needed, and means one image",
	{"alone.yaml", "pod-networkpolicy"}:  "it turns off everything that can be turned off",
	{"kind.yaml", "container-image-tag"}: "the image was built here, and loaded into the cluster",
	{"k3d.yaml", "container-image-tag"}:  "likewise",
	{"kind.yaml", "service-type"}:        "a laptop has no load balancers",
	{"k3d.yaml", "service-type"}:         "likewise",
	{"placed.yaml", "service-type"}:      "it is the set of values with NodePorts",
}

func TestLinterHasNothingToSay(t *testing.T) {
	renders, err := filepath.Glob("../testdata/render/*.yaml")
	if err != nil || len(renders) < 7 {
		t.Fatalf("%d renders: %v", len(renders), err)
	}
	for _, path := range renders {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cfg := &config.RunConfiguration{KubernetesVersion: config.Semver{Major: 1, Minor: 30}, IgnoreContainerCpuLimitRequirement: true}
			p, err := parser.New(&parser.Config{})
			if err != nil {
				t.Fatal(err)
			}
			objects, err := p.ParseFiles([]domain.NamedReader{named{f, path}})
			if err != nil {
				t.Fatal(err)
			}
			card, err := score.Score(objects, score.RegisterAllChecks(objects, &checks.Config{}, cfg), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if len(*card) == 0 {
				t.Fatal("nothing was looked at")
			}
			for _, o := range *card {
				for _, c := range o.Checks {
					_, always := accepted[[2]string{"", c.Check.ID}]
					_, here := accepted[[2]string{filepath.Base(path), c.Check.ID}]
					if always || here || c.Skipped || c.Grade > scorecard.GradeWarning {
						continue
					}
					t.Errorf("%s %s: %s: %v", o.TypeMeta.Kind, o.ObjectMeta.Name, c.Check.ID, c.Comments)
				}
			}
		})
	}
}

// named is a file with its name.
type named struct {
	io.Reader
	name string
}

func (n named) Name() string { return n.name }
