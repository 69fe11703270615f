package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/transport/certs"
)

// renew gives a region a new certificate, in the folder that all regions run on.
func renew(t *testing.T, c *cluster.Cluster, n *cluster.Node, valid time.Duration) {
	t.Helper()
	for _, suffix := range []string{".crt", ".key"} {
		if err := os.Remove(filepath.Join(c.TLS, n.Region+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	if err := certs.Issue(c.TLS, n.Region, nil, certs.Validity{Region: valid}); err != nil {
		t.Fatal(err)
	}
}

// A region whose certificate has run out gets no new links, says so, and goes on
// serving its own clients. With a new certificate in its folder the links are back,
// without a restart.
func TestCertificatesExpireAndAreRenewedInRunningRegions(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	n, peers := c.Nodes[0], c.Nodes[1:]
	again := func() {
		for _, p := range peers {
			p.Kill(t)
			p.Start(t)
			p.AwaitReady(t)
		}
	}

	n.Put(t, "renewed", "before", `{}`)
	renew(t, c, n, time.Hour)
	again()
	n.AwaitLog(t, "certificates were renewed", "until")
	for _, p := range peers {
		n.AwaitLink(t, p, "up")
	}
	n.Put(t, "renewed", "with a new one", `{}`)
	c.AwaitSame(t)

	renew(t, c, n, time.Millisecond)
	// The links that there are go on; new ones are refused.
	again()
	for _, p := range peers {
		p.AwaitLog(t, "level=WARN", n.Region, "certificate is expired")
	}
	t.Logf("logged: %s", n.AwaitLog(t, "level=ERROR", "out of its time"))
	for _, p := range peers {
		n.AwaitLink(t, p, "down")
		p.Put(t, "renewed", "during, "+p.Region, `{}`)
	}
	n.Put(t, "renewed", "during", `{}`)
	peers[0].Must(t, cluster.Request{Path: cluster.DocPath("renewed", "during")}, http.StatusNotFound)

	pid := n.PID()
	renew(t, c, n, time.Hour)
	for _, p := range peers {
		n.AwaitLink(t, p, "up")
	}
	if n.PID() != pid {
		t.Error("the region was started again")
	}
	c.AwaitSame(t)
	peers[0].Get(t, "renewed", "during")
}
