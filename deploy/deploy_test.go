// Package deploy has no code of its own: this checks the files in it that need
// neither Kubernetes nor a running cluster. The chart is checked by the module in
// tests, the image and what is in observability by package e2e.
package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// tool returns the path of a program, or skips the test loudly.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT TESTED: %v; install Debian's package %s", err, pkg)
	}
	return path
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (-update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s has changed (-update takes it over):\n%s", path, diff)
	}
}

func TestScriptsSatisfyShellcheck(t *testing.T) {
	shellcheck := tool(t, "shellcheck", "shellcheck")
	var scripts []string
	for _, root := range []string{".", "../.ci"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.HasPrefix(b, []byte("#!/usr/bin/env bash")) {
				scripts = append(scripts, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(scripts) < 6 {
		t.Fatalf("only %d scripts were found: %v", len(scripts), scripts)
	}
	if out, err := exec.Command(shellcheck, scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// regions runs a script for laptops without running what it would.
func regions(t *testing.T, driver string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(driver, "regions"), args...)
	cmd.Env = append(os.Environ(), "STATE=/state", "REGIONS=", "CLUSTER=", "IMAGE=", "HTTP_BASE=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestDryRunsPrintWhatWouldBeRun(t *testing.T) {
	for _, driver := range []string{"kind", "k3d"} {
		for name, args := range map[string][]string{
			"up":         {"--dry-run", "up"},
			"up-single":  {"--single", "--dry-run", "up"},
			"status":     {"--dry-run", "status"},
			"cut":        {"--dry-run", "cut", "us-east", "eu-west"},
			"heal":       {"--dry-run", "heal", "us-east", "eu-west"},
			"down":       {"--dry-run", "down"},
			"down-alone": {"--single", "--dry-run", "down"},
		} {
			t.Run(driver+"/"+name, func(t *testing.T) {
				out, err := regions(t, driver, args...)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				golden(t, driver+"-"+name+".txt", out)
			})
		}
	}
}

func TestScriptsSayWhatIsWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"usage:":                        {},
		"usage: deploy/kind/regions":    {"bogus"},
		"there is no region mars":       {"--dry-run", "cut", "us-east", "mars"},
		"a link is between two regions": {"--dry-run", "cut", "us-east", "us-east"},
		"there is no flag --bogus":      {"--bogus", "up"},
	} {
		out, err := regions(t, "kind", args...)
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// TestComposeHasARegionOnEachNetwork reads compose.yaml as compose does, merges included.
func TestComposeHasARegionOnEachNetwork(t *testing.T) {
	b, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image       string            `yaml:"image"`
			Name        string            `yaml:"container_name"`
			ReadOnly    bool              `yaml:"read_only"`
			CapDrop     []string          `yaml:"cap_drop"`
			Environment map[string]string `yaml:"environment"`
			Networks    []string          `yaml:"networks"`
			Ports       []string          `yaml:"ports"`
			Volumes     []string          `yaml:"volumes"`
			Command     []string          `yaml:"command"`
			DependsOn   map[string]any    `yaml:"depends_on"`
		} `yaml:"services"`
		Networks map[string]any `yaml:"networks"`
		Volumes  map[string]any `yaml:"volumes"`
	}
	if err := yaml.Unmarshal(b, &compose); err != nil {
		t.Fatal(err)
	}
	issued := strings.Join(compose.Services["certs"].Command, " ")
	names := map[string]bool{}
	for name := range compose.Services {
		names[name] = true
	}
	delete(names, "certs")
	if len(names) != 3 {
		t.Fatalf("the regions are %v", names)
	}
	for name := range names {
		s := compose.Services[name]
		if s.Image == "" || !s.ReadOnly || len(s.CapDrop) != 1 || s.DependsOn["certs"] == nil || !strings.Contains(issued, name) {
			t.Errorf("%s: %+v", name, s)
		}
		if s.Environment["MERIDIAN_REGION"] != name || s.Name != "meridian-"+name {
			t.Errorf("%s is called %s", name, s.Environment["MERIDIAN_REGION"])
		}
		if len(s.Networks) != 2 || s.Networks[0] != "wan" || s.Networks[1] != name || len(s.Ports) != 1 || len(s.Volumes) != 2 {
			t.Errorf("%s: networks %v, ports %v, volumes %v", name, s.Networks, s.Ports, s.Volumes)
		}
		for other := range names {
			want := other + "=meridian-" + other + ":7400"
			if has := strings.Contains(s.Environment["MERIDIAN_PEERS"], want); has != (other != name) {
				t.Errorf("%s has the peers %s", name, s.Environment["MERIDIAN_PEERS"])
			}
		}
	}
}

func TestAlertRules(t *testing.T) {
	promtool := tool(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", "observability/alerts.yaml"}, {"test", "rules", "observability/alerts_test.yaml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestDashboardIsWhatGrafanaImports checks what Grafana would only show as an empty panel.
func TestDashboardIsWhatGrafanaImports(t *testing.T) {
	b, err := os.ReadFile("observability/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title         string
		UID           string
		SchemaVersion int
		Templating    struct{ List []struct{ Name string } }
		Panels        []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Templating.List) != 2 {
		t.Errorf("%s %s %d %v", d.Title, d.UID, d.SchemaVersion, d.Templating.List)
	}
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if target.Expr == "" || target.LegendFormat == "" || !strings.Contains(target.Expr, `region=~"$region"`) {
				t.Errorf("panel %q: %+v", p.Title, target)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := places[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
	}
}
