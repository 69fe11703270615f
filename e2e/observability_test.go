package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// namesMetric finds what names a metric in an expression.
var namesMetric = regexp.MustCompile(`\b(meridian|go|process)_[a-z0-9_]+\b`)

// TestMetricsNamedInDashboardAndRulesExist scrapes three regions between which
// there was a conflict and something to send again.
func TestMetricsNamedInDashboardAndRulesExist(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	us, eu := c.Nodes[0], c.Nodes[1]
	c.MakeCollection(t, "prices", `{"type":"register","policy":"lww"}`)
	us.Put(t, "prices", "tea", `{"price":1}`)
	c.AwaitEqual(t)
	links := eu.Links(c.Others(eu)...)
	cluster.Cut(t, links...)
	for _, l := range links {
		eu.AwaitLink(t, l[1], "down")
	}
	us.Put(t, "prices", "tea", `{"price":2}`)
	eu.Put(t, "prices", "tea", `{"price":3}`)
	us.Must(t, cluster.Request{
		Method: http.MethodPut, Path: cluster.DocPath("prices", "tea"), Body: `{}`, Header: []string{"If-None-Match", "*"},
	}, http.StatusPreconditionFailed)
	cluster.Heal(t, links...)
	for _, n := range c.Nodes {
		for _, other := range c.Others(n) {
			n.AwaitLink(t, other, "up")
		}
	}
	c.AwaitEqual(t)
	eu.Get(t, "prices", "tea")

	present := map[string]bool{}
	promtool, noPromtool := exec.LookPath("promtool")
	for _, n := range c.Nodes {
		body := n.Must(t, cluster.Request{Path: "/metrics"}, http.StatusOK).Body
		for line := range strings.Lines(string(body)) {
			if name, _, ok := strings.Cut(line, "{"); ok && !strings.HasPrefix(line, "#") {
				present[name] = true
			}
		}
		if noPromtool != nil {
			continue
		}
		lint := exec.Command(promtool, "check", "metrics")
		lint.Stdin = bytes.NewReader(body)
		if out, err := lint.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("promtool check metrics of %s: %v\n%s", n.Region, err, out)
		}
	}
	if len(present) < 60 {
		t.Fatalf("only %d metrics were scraped", len(present))
	}
	for _, file := range []string{"dashboard.json", "alerts.yaml"} {
		b, err := os.ReadFile(filepath.Join("..", "deploy", "observability", file))
		if err != nil {
			t.Fatal(err)
		}
		named := namesMetric.FindAllString(string(b), -1)
		slices.Sort(named)
		named = slices.Compact(named)
		if len(named) < 8 {
			t.Errorf("%s names only %v", file, named)
		}
		for _, name := range named {
			if !present[name] {
				t.Errorf("%s names %s, which no region has", file, name)
			}
		}
	}
	if noPromtool != nil {
		t.Skipf("NOT TESTED: promtool check metrics: %v; install Debian's package prometheus", noPromtool)
	}
}
