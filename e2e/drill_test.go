package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/cmd/drill"
	"github.com/meridiandb/meridian/e2e/cluster"
)

func addrs(c *cluster.Cluster) string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.URL())
	}
	return strings.Join(all, ",")
}

func faultOf(t *testing.T, at, peer *cluster.Node) (f struct{ State, Delay, For string }) {
	t.Helper()
	cluster.Decode(t, at.Must(t, cluster.Request{Path: "/v1/faults/links/" + peer.Region}, http.StatusOK).Body, &f)
	return f
}

// A drill cuts all links of a region and those of one pair, counts what comes of
// it, finds nothing lost, and leaves the links as they were and no documents.
func TestDrill(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, b := c.Nodes[0], c.Nodes[1]
	for _, n := range c.Nodes {
		for _, p := range c.Others(n) {
			n.AwaitLink(t, p, "up")
		}
	}
	a.SetFault(t, b, `{"state":"up","delay":"5ms"}`)
	for _, link := range []string{b.Region, a.Region + ":" + b.Region} {
		out, errs, status := cluster.Run(t, "drill", "--addr", addrs(c), "--link", link, "--for", "3s", "--writes", "50", "--json")
		var r drill.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != 0 {
			t.Fatalf("the drill ends with %d: %v\n%s\n%s", status, err, out, errs)
		}
		isolated := link == b.Region
		if !r.Passed || !r.Converged || r.Lost != 0 || r.CutSeconds < 3 || r.Documents != "same" || len(r.NotChecked) > 0 {
			t.Errorf("%s", out)
		}
		for _, w := range r.Writes {
			if w.Acknowledged == 0 || w.Refused+w.Unanswered > 0 || w.P50Ms <= 0 {
				t.Errorf("%+v", w)
			}
		}
		// Both sides wrote to the same fields while they could not know of each other.
		if isolated && (r.ConflictsMade == 0 || r.Peak.Changes == 0 || r.Peak.Seconds == 0 || len(r.Cuts) != 2) {
			t.Errorf("the cut did not show: %s", out)
		}
		if !isolated && len(r.Cuts) != 1 {
			t.Errorf("cut was %v", r.Cuts)
		}
		if f := faultOf(t, a, b); f.State != "up" || f.Delay != "5ms" {
			t.Errorf("the link was left as %+v", f)
		}
		if f := faultOf(t, b, a); f.State != "up" {
			t.Errorf("the link was left as %+v", f)
		}
		if list := a.Must(t, cluster.Request{Path: "/v1/collections/drill/docs"}, http.StatusOK).Text(); !strings.Contains(list, `"docs":[]`) {
			t.Errorf("documents were left: %.200s", list)
		}
	}
}

// A drill that is interrupted heals what it has cut. One that is killed cannot,
// and the cut is one that ends by itself.
func TestDrillInterrupted(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, b := c.Nodes[0], c.Nodes[1]
	a.AwaitLink(t, b, "up")
	begin := func() *exec.Cmd {
		t.Helper()
		d := exec.CommandContext(t.Context(), cluster.Binary(t), "drill", "--addr", addrs(c), "--for", "10m")
		errs, err := d.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(errs); lines.Scan(); {
			if strings.Contains(lines.Text(), "is cut.") {
				return d
			}
		}
		t.Fatalf("the drill cut nothing: %v", d.Wait())
		return nil
	}
	d := begin()
	a.AwaitLink(t, b, "down")
	if err := d.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); d.ProcessState.ExitCode() != 1 {
		t.Errorf("interrupted, the drill ends with %v", err)
	}
	if f := faultOf(t, a, b); f.State != "up" {
		t.Errorf("the link was left as %+v", f)
	}
	a.AwaitLink(t, b, "up")

	d = begin()
	if err := d.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.Wait()
	if f := faultOf(t, a, b); f.State != "cut" || f.For != "10m30s" {
		t.Errorf("the link was left as %+v", f)
	}
}

func TestDrillNeedsFaultInjection(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Regions: []string{"us-east", "eu-west"}, Prepare: func(c *cluster.Cluster) {
		for _, n := range c.Nodes {
			n.RemoveFlag("--fault-injection")
		}
	}})
	a, b := c.Nodes[0], c.Nodes[1]
	cluster.Await(t, cluster.Patience, "the regions to meet", func() (bool, string) {
		return a.MustCluster(t).Regions[0].Link.State == "up", "no link"
	})
	_, errs, status := cluster.Run(t, "drill", "--addr", a.URL()+","+b.URL(), "--for", "1s")
	if status != 1 || !strings.Contains(errs, "--fault-injection") {
		t.Errorf("the drill ends with %d: %s", status, errs)
	}
}
