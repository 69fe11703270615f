package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// filesWith lists the files of a region that have some bytes in them.
func filesWith(t *testing.T, n *cluster.Node, what string) (found []string) {
	t.Helper()
	root := os.DirFS(n.Data)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		if bytes.Contains(b, []byte(what)) {
			found = append(found, filepath.Join(n.Data, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A star whose hub does not hold the collection, which its two spokes do.
func TestSecretsStayWhereTheyAreHeld(t *testing.T) {
	t.Parallel()
	const secret, secretID = "vEry-pRivAte-wOrds", "pAtient-nUmber"
	c := cluster.Start(t, cluster.Options{
		Regions: []string{"us-east", "eu-west", "eu-north"}, Topology: cluster.Star, Args: []string{"--fault-injection"},
	})
	hub, west, north := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	for name, elsewhere := range map[string]string{"patients": "forward", "files": "refuse"} {
		path := "/v1/collections/" + name
		token := west.Must(t, cluster.Request{Method: http.MethodPut, Path: path, Body: `{"regions":["eu-*"],"elsewhere":"` + elsewhere + `"}`}, http.StatusCreated).Token()
		for _, n := range []*cluster.Node{hub, north} {
			n.Must(t, cluster.Request{Path: path, Token: token}, http.StatusOK)
		}
	}
	// The spokes have made a link of their own.
	west.AwaitLink(t, north, "up")
	doc := func(i int) string { return fmt.Sprintf(`{"notes":"%s %d"}`, secret, i) }
	id := func(i int) string { return fmt.Sprintf("%s-%d", secretID, i) }
	var token string
	for i := range 50 {
		token = west.Put(t, "patients", id(i), doc(i)).Token()
		north.Put(t, "files", id(i), doc(i))
		hub.Put(t, "open", fmt.Sprint(i), `{"everybody":true}`)
	}
	if got := north.GetAfter(t, token, "patients", id(49)).Text(); got != doc(49) {
		t.Errorf("the other holder has %s", got)
	}

	t.Log("while a holder is cut off from all")
	links := west.Links(hub, north)
	cluster.Cut(t, links...)
	for i := range 50 {
		west.Put(t, "patients", id(i), doc(100+i))
		north.Put(t, "patients", id(50+i), doc(i))
	}
	cluster.Heal(t, links...)
	c.AwaitEqual(t)
	for _, i := range []int{0, 49, 99} {
		a, b := west.Get(t, "patients", id(i)).Text(), north.Get(t, "patients", id(i)).Text()
		if a != b || !strings.Contains(a, secret) {
			t.Errorf("%s: eu-west has %s, eu-north %s", id(i), a, b)
		}
	}

	t.Log("the direct link of the holders is cut: what one of them writes waits")
	direct := cluster.Link{west, north}
	cluster.Cut(t, direct)
	token = west.Put(t, "patients", "late", doc(7)).Token()
	hub.Must(t, cluster.Request{Path: "/v1/cluster", Token: token}, http.StatusOK) // it has the placeholder
	if got := north.Must(t, cluster.Request{Path: cluster.DocPath("patients", "late")}, http.StatusNotFound); got.Header.Get("Meridian-Region") != north.Region {
		t.Errorf("answered by %s", got.Header.Get("Meridian-Region"))
	}
	cluster.Heal(t, direct)
	if got := north.GetAfter(t, token, "patients", "late").Text(); got != doc(7) {
		t.Errorf("after the cut the other holder has %s", got)
	}

	if r := hub.Get(t, "patients", "late"); r.Text() != doc(7) || !strings.HasPrefix(r.Header.Get("Meridian-Region"), "eu-") {
		t.Errorf("%s answers %s", r.Header.Get("Meridian-Region"), r.Text())
	}
	hub.Must(t, cluster.Request{Path: cluster.DocPath("files", id(0))}, http.StatusMisdirectedRequest)
	hub.Put(t, "patients", "from-afar", doc(8))
	cluster.Cut(t, hub.Links(west, north)...)
	cluster.Await(t, cluster.Patience, "holders that cannot be reached", func() (bool, string) {
		r, err := hub.Do(t.Context(), cluster.Request{Path: cluster.DocPath("patients", "late")})
		if err != nil {
			return false, err.Error()
		}
		return r.Status == http.StatusServiceUnavailable && strings.Contains(r.Text(), "holders-unreachable"), r.Text()
	})
	cluster.Heal(t, hub.Links(west, north)...)
	c.AwaitEqual(t)

	t.Log("a holder that lost its store gets it back")
	north.Kill(t)
	if err := os.RemoveAll(north.Data); err != nil {
		t.Fatal(err)
	}
	north.Start(t)
	north.AwaitReady(t)
	c.AwaitEqual(t)
	if got := north.Get(t, "patients", id(49)).Text(); !strings.Contains(got, secret) {
		t.Errorf("it has %s", got)
	}

	for _, n := range c.Nodes {
		n.Stop(t)
	}
	for _, what := range []string{secret, secretID} {
		if found := filesWith(t, hub, what); len(found) > 0 {
			t.Errorf("%q is in %v", what, found)
		}
		for _, n := range []*cluster.Node{west, north} {
			if len(filesWith(t, n, what)) == 0 {
				t.Errorf("%q is in no file of %s: nothing was looked for", what, n.Region)
			}
		}
	}
	if len(filesWith(t, hub, "everybody")) == 0 {
		t.Error("what all hold is in no file of the hub: nothing was looked for")
	}
}
