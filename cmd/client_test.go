package cmd

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/api/client"
)

func TestDocumentCommands(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)

	if out := must(t, "put", "carts", "c1", `{"items": ["tea"], "n": 1.0, "likes": {"$counter": 3}}`); !strings.HasPrefix(out, "created carts/c1 in us-east, ETag ") {
		t.Error(out)
	}
	if out := must(t, "patch", "carts", "c1", `{"paid": true, "n": 12345678901234567}`); !strings.HasPrefix(out, "updated carts/c1") {
		t.Error(out)
	}
	must(t, "patch", "carts", "c1", "--ops", `[{"op": "inc", "path": "/likes", "value": 2}]`)
	mustIn(t, `[{"op": "add", "path": "/items/-", "value": "milk"}]`, "patch", "carts", "c1", "--json-patch")
	want := "{\n  \"items\": [\n    \"tea\",\n    \"milk\"\n  ],\n  \"likes\": 5,\n  \"n\": 12345678901234567,\n  \"paid\": true\n}\n"
	if got := must(t, "get", "carts", "c1"); got != want {
		t.Errorf("got %s", got)
	}
	if got := must(t, "get", "carts", "c1", "--types"); !strings.Contains(got, `"$counter": 5`) {
		t.Errorf("no types in %s", got)
	}

	got := decode[gotDocument](t, must(t, "get", "carts", "c1", "--json"))
	if got.ID != "c1" || got.Collection != "carts" || got.Region != "us-east" || got.ETag == "" ||
		string(got.Value) != `{"items":["tea","milk"],"likes":5,"n":12345678901234567,"paid":true}` {
		t.Errorf("%+v", got)
	}
	if out := must(t, "get", "carts", "c1", "--include"); !strings.HasPrefix(out, "ETag: "+got.ETag+"\nRegion: us-east\n") {
		t.Error(out)
	}

	// From a file, from standard input, and conditions.
	file := filepath.Join(t.TempDir(), "cart.json")
	if err := os.WriteFile(file, []byte("\n {\"b\": 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustFail(t, StatusFailed, []string{"put", "carts", "c1", file, "--if-none-match", "*"}, "412 precondition-failed", "--if-match")
	must(t, "put", "carts", "c1", file, "--if-match", got.ETag)
	mustFail(t, StatusFailed, []string{"put", "carts", "c1", file, "--if-match", strings.Trim(got.ETag, `"`)}, "412 precondition-failed")
	// An edit of the older version is merged with what came since.
	w := decode[client.Receipt](t, mustIn(t, `{"items": ["tea"], "n": 12345678901234567, "paid": true, "likes": {"$counter": 5}, "x": 1}`, "put", "carts", "c1", "-", "--base", got.ETag, "--json"))
	if doc := must(t, "get", "carts", "c1"); doc != "{\n  \"b\": 2,\n  \"x\": 1\n}\n" {
		t.Errorf("the merge made %s", doc)
	}

	must(t, "put", "carts", "c2", `{"tab": "\t", "bell": "\u0007"}`)
	if out := must(t, "list"); !strings.Contains(out, "carts       document  merge   all      ") {
		t.Error(out)
	}
	if c := decode[client.Collection](t, must(t, "list", "--json")); c.Name != "carts" || c.Type != "document" {
		t.Errorf("%+v", c)
	}
	table := must(t, "list", "carts")
	if lines := strings.Split(table, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "ID  ETAG") || !strings.Contains(lines[1], w.ETag) {
		t.Errorf("list:\n%s", table)
	}
	if strings.ContainsAny(table, "\t\a") {
		t.Errorf("control characters reach the terminal: %q", table)
	}
	if d := decode[client.Document](t, must(t, "list", "carts", "--json", "--prefix", "c2")); d.ID != "c2" || d.ETag == "" {
		t.Errorf("%+v", d)
	}
	if out := must(t, "list", "carts", "--json", "--limit", "1"); strings.Count(out, "\n") != 1 {
		t.Errorf("--limit 1 lists %s", out)
	}

	if out := must(t, "versions", "carts", "c1"); !strings.Contains(out, "SHOWN  REGION   WRITTEN") || !strings.Contains(out, "yes    us-east") {
		t.Error(out)
	}
	for _, args := range [][]string{{"versions", "carts", "c1", "--json"}, {"get", "carts", "c1", "--versions", "--json"}} {
		if v := decode[client.Versions](t, must(t, args...)); len(v.Versions) != 2 || !v.Versions[0].Shown || v.Versions[0].Region != "us-east" || len(v.Conflicts) != 0 {
			t.Errorf("%+v", v)
		}
	}

	if out := must(t, "delete", "carts", "c1"); out != "deleted carts/c1 in us-east\n" {
		t.Error(out)
	}
	if d := decode[deleted](t, must(t, "delete", "carts", "c2", "--json")); !d.Deleted || d.ID != "c2" {
		t.Errorf("%+v", d)
	}
	mustFail(t, StatusFailed, []string{"get", "carts", "c1"}, "404 no-such-document", "meridian list")
	mustFail(t, StatusFailed, []string{"get", "nope", "c1"}, "404 unknown-collection", "meridian put")
	mustFail(t, StatusFailed, []string{"put", "carts", "c1", `{"a": 1e999}`}, "422 inexact-number")
	mustFail(t, StatusFailed, []string{"put", "carts", "c1", `[1]`}, "422 not-an-object")
	mustFail(t, StatusFailed, []string{"put", "carts", "c1", `{"a": `}, "400 malformed-json")
}

func TestOddIDs(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	for _, id := range []string{"a/b", ".", "..", "ü €", "%2F", "a?b#c", "[1]", `"`} {
		must(t, "put", "c", id, `{"id": true}`)
		if got := decode[gotDocument](t, must(t, "get", "c", id, "--json")); got.ID != id {
			t.Errorf("%q came back as %q", id, got.ID)
		}
	}
	if out := must(t, "list", "c", "--json"); strings.Count(out, "\n") != 8 {
		t.Errorf("list:\n%s", out)
	}
}

func TestListShowsMoreThanAPage(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	const n = 2*listPage + 1
	mustIn(t, strings.Repeat("{}\n", n), "import", "-", "--collection", "c", "--generate-ids", "--batch", "1000")
	if out := must(t, "list", "c", "--json"); strings.Count(out, "\n") != n {
		t.Errorf("%d lines", strings.Count(out, "\n"))
	}
	out := must(t, "list", "c")
	if strings.Count(out, "\n") != n+1 || strings.Count(out, "ETAG") != 1 {
		t.Errorf("%d lines, %d headings", strings.Count(out, "\n"), strings.Count(out, "ETAG"))
	}
}

func TestStatusAndProbes(t *testing.T) {
	s := serveOne(t)
	const dead = "127.0.0.1:1"
	if out := must(t, "status", "--addr", s.url); !strings.HasPrefix(out, "Cluster test, 1 region, mesh, seen from us-east ("+s.url+")") {
		t.Error(out)
	}
	if st := decode[client.Cluster](t, must(t, "status", "--addr", s.url, "--json")); st.Cluster != "test" || len(st.Vector) != 1 {
		t.Errorf("%+v", st)
	}
	for _, what := range []string{"ready", "live"} {
		if out := must(t, "status", "--addr", s.url, "--probe", what, "--wait", "10s"); out != s.url+" is "+what+"\n" {
			t.Error(out)
		}
	}
	r := run(t, "", "status", "--addr", s.url, "--addr", dead, "--probe", "ready")
	if r.status != StatusFailed || !strings.Contains(r.out, s.url+" is ready\n") || !strings.Contains(r.out, "http://"+dead+" is not ready: ") || r.err != "" {
		t.Errorf("%+v", r)
	}
	r = run(t, "", "status", "--addr", dead, "--probe", "live", "--json")
	if p := decode[probed](t, r.out); r.status != StatusFailed || p.OK || p.Reason == "" {
		t.Errorf("%+v", r)
	}
	mustFail(t, StatusFailed, []string{"status", "--addr", dead}, "no answer from http://"+dead, "meridian serve", "--addr")
	// Of several the one that is ready.
	if st := decode[client.Cluster](t, must(t, "status", "--json", "--addr", dead+","+s.url)); st.Region != "us-east" {
		t.Errorf("%+v", st)
	}
	mustFail(t, StatusFailed, []string{"status", "--addr", dead, "--addr", "127.0.0.1:2"}, "none of 2 regions is ready")
}

func TestStatusTable(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	heard := now.Add(-1500 * time.Millisecond)
	s := &client.Cluster{
		Cluster: "shop", Region: "us-east", Vector: client.Vector{"a": 3, "b": 1234},
		Topology: client.Topology{Kind: "star", Hub: "us-east"}, Problem: "store is fenced",
		Regions: []client.Region{
			{
				Region: "eu-west", Lag: 3, LagSeconds: 1.25, ClockOffsetMs: -0.04, LastHeard: &heard,
				Link: client.Link{State: "up", RTTMs: 80.04, Address: "eu:7400"},
			},
			{Region: "ap-south", Missing: 2, Link: client.Link{State: "down", LastError: "peer does not answer\x1b[2J"}},
		},
	}
	s.Inbox.Changes, s.Storage.Records = 2, 3<<20
	cl, err := client.New("h:1")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&app{out: &out}).printStatus(cl, s, now); err != nil {
		t.Fatal(err)
	}
	const want = `Cluster shop, 3 regions, star around us-east, seen from us-east (http://h:1), which holds 1237 changes in 3.0 MiB.
It takes no writes: store is fenced
2 changes wait here for others that they depend on.

REGION    LINK  RTT      LAG        MISSING  CLOCK    HEARD      ADDRESS
eu-west   up    80.0 ms  3 (1.2 s)  0        -0.0 ms  1.5 s ago  eu:7400
ap-south  down  -        0          2        -        never      -

Link with ap-south: peer does not answer�[2J
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	mustFail(t, StatusFailed, []string{"certs", "issue", "--dir", dir, "--region", "a"}, "meridian certs init")
	if m := decode[madeCert](t, must(t, "certs", "init", "--dir", dir, "--cluster", "shop", "--json")); m.Cluster != "shop" || m.Key != filepath.Join(dir, "ca.key") {
		t.Errorf("%+v", m)
	}
	mustFail(t, StatusFailed, []string{"certs", "init", "--dir", dir}, "exists")
	if out := must(t, "certs", "issue", "--dir", dir, "--region", "a", "--host", "h,10.0.0.1", "--host", "h2"); !strings.Contains(out, "meridian serve --region a --tls-dir "+dir) {
		t.Error(out)
	}
	mustFail(t, StatusFailed, []string{"certs", "issue", "--dir", dir, "--region", "a"}, "exists")
	info, err := os.Stat(filepath.Join(dir, "a.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestAcksAndReadsAcrossRegions(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	must(t, "put", "carts", "c1", `{}`, "--acks", "all")
	got := decode[gotDocument](t, must(t, "get", "carts", "c1", "--read", "quorum", "--json"))
	if len(got.Read) != 1 || got.Read[0] != "us-east" {
		t.Errorf("%+v", got)
	}
	if out := must(t, "get", "carts", "c1", "--read", "1", "-i"); !strings.Contains(out, "Read: us-east\n") {
		t.Error(out)
	}
	mustFail(t, StatusFailed, []string{"put", "carts", "c1", `{}`, "--acks", "2"}, "422 invalid", "the cluster has 1")
	mustFail(t, StatusFailed, []string{"versions", "carts", "c1", "--read", "mars"}, "422 invalid", "no region")
	must(t, "patch", "carts", "c1", `{"a": 1}`, "--acks", "us-east", "--wait", "1s")
	if d := decode[deleted](t, must(t, "delete", "carts", "c1", "--acks", "majority", "--json")); !d.Deleted || d.Pending || len(d.Acked) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestWritesThatAreNotAcknowledgedFail(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(client.HeaderAcked, "us-east,eu-west")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"c1","created":true}`)
	}))
	defer srv.Close()
	for _, args := range [][]string{{"put", "carts", "c1", "{}"}, {"patch", "carts", "c1", "{}"}, {"delete", "carts", "c1"}} {
		mustFail(t, StatusFailed, append(args, "--addr", srv.URL, "--acks", "all"),
			"durable in us-east, eu-west and stands", "not acknowledged in time by all", "Do not write again")
	}
}

func TestCertsEnsureMakesWhatIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	ensure := func(cluster, regions string) []string {
		return []string{"certs", "ensure", "--dir", dir, "--cluster", cluster, "--region", regions}
	}
	if out := must(t, ensure("shop", "a,b")...); strings.Count(out, "Made") != 3 {
		t.Errorf("the first time:\n%s", out)
	}
	before, err := os.ReadFile(filepath.Join(dir, "a.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if out := must(t, ensure("shop", "a,b,c")...); strings.Count(out, "Kept") != 3 || strings.Count(out, "Made") != 1 {
		t.Errorf("the second time:\n%s", out)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "a.crt")); err != nil || string(after) != string(before) {
		t.Errorf("a certificate was made anew: %v", err)
	}
	mustFail(t, StatusFailed, ensure("other", "a"), "meridian://shop/a", "another folder")
}
