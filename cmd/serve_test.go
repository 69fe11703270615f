package cmd

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/api/client"
)

func TestServeEndsOrderlyAndItsFolderServesAgain(t *testing.T) {
	s := serveOne(t)
	must(t, "put", "c", "d", `{"a": 1}`, "--addr", s.url)
	if r := s.stop(); r.status != StatusDone {
		t.Fatalf("status %d\n%s", r.status, r.err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://")); err == nil {
		t.Error("the port is still open")
	}
	again := serve(t, s.args...)
	if got := must(t, "get", "c", "d", "--addr", again.url); got != "{\n  \"a\": 1\n}\n" {
		t.Errorf("after the restart: %s", got)
	}
}

func TestServeRefuses(t *testing.T) {
	certsDir := certificates(t, "us-east")
	command := func(data string, more ...string) []string {
		return append([]string{
			"serve", "--region", "us-east", "--cluster", "test", "--data", data, "--tls-dir", certsDir,
			"--http", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0",
		}, more...)
	}
	t.Run("missing certificates", func(t *testing.T) {
		empty := t.TempDir()
		mustFail(t, StatusFailed, command(t.TempDir(), "--tls-dir", empty),
			"ca.crt", "meridian certs init --dir "+empty+" --cluster test", "meridian certs issue --dir "+empty+" --region us-east")
		mustFail(t, StatusFailed, command(t.TempDir(), "--region", "eu-west"),
			"eu-west.crt", "meridian certs issue --dir "+certsDir+" --region eu-west")
	})
	t.Run("another cluster", func(t *testing.T) {
		mustFail(t, StatusFailed, command(t.TempDir(), "--cluster", "other"), "meridian://test/us-east", "meridian://other/us-east")
	})
	t.Run("a folder in use", func(t *testing.T) {
		s := serveOne(t)
		mustFail(t, StatusFailed, command(s.data), "in use", "name another folder")
	})
	t.Run("a folder of a newer format", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("meridian store 1000\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		mustFail(t, StatusFailed, command(dir), "newer format", "1000")
	})
	t.Run("a folder of something else", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		mustFail(t, StatusFailed, command(dir), "thesis.tex", "name an empty or a new folder")
	})
	t.Run("an address in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mustFail(t, StatusFailed, command(t.TempDir(), "--http", l.Addr().String()), l.Addr().String(), "address already in use")
	})
}

func TestServeByEnvironmentAndFile(t *testing.T) {
	certsDir := certificates(t, "eu-west")
	config := filepath.Join(t.TempDir(), "eu.yaml")
	text := "region: eu-west\ncluster: test\nhttp: 127.0.0.1:0\npeer-listen: 127.0.0.1:0\ntls-dir: " + certsDir + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MERIDIAN_CONFIG", config)
	t.Setenv("MERIDIAN_DATA", t.TempDir())
	t.Setenv("MERIDIAN_STRICT_COLLECTIONS", "true")
	s := serve(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	if st := decode[client.Cluster](t, must(t, "status", "--json")); st.Region != "eu-west" {
		t.Errorf("%+v", st)
	}
	mustFail(t, StatusFailed, []string{"put", "c", "d", "{}"}, "404 unknown-collection", "--strict-collections")
}

func TestFaultsOnlyWithTheFlag(t *testing.T) {
	dir := certificates(t, "us-east", "eu-west")
	start := func(more ...string) *served {
		return serve(t, append([]string{
			"--region", "us-east", "--cluster", "test", "--data", t.TempDir(), "--tls-dir", dir,
			"--http", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--peers", "eu-west=127.0.0.1:1",
		}, more...)...)
	}
	for _, test := range []struct {
		s    *served
		want int
	}{{start(), http.StatusNotFound}, {start("--fault-injection"), http.StatusOK}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, test.s.url+"/v1/faults/links/eu-west", strings.NewReader(`{"state": "cut"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != test.want {
			t.Errorf("%s: status %d, want %d", test.s.args, res.StatusCode, test.want)
		}
	}
}

// Two regions that are told of each other, over real QUIC.
func TestWhatIsPutInOneRegionIsReadInTheOther(t *testing.T) {
	dir := certificates(t, "us-east", "eu-west")
	region := func(name, listen, peers string) *served {
		return serve(t, "--region", name, "--cluster", "test", "--data", t.TempDir(), "--tls-dir", dir,
			"--http", "127.0.0.1:0", "--peer-listen", listen, "--peers", peers)
	}
	us := region("us-east", "127.0.0.1:0", "eu-west=127.0.0.1:1")
	// Where us-east listens is known now, and eu-west is the one that dials or is
	// dialled in vain; either way one link comes up.
	eu := region("eu-west", "127.0.0.1:0", "us-east="+us.peers)
	here, err := client.New(us.url)
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	awaitReady(t, here) // it was ready alone, and has met another since
	if _, err := here.Put(t.Context(), "c", "d", []byte(`{"a": 1}`), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	there, err := here.At(eu.url)
	if err != nil {
		t.Fatal(err)
	}
	// The token makes the other region wait until it has the write.
	d, err := there.Get(t.Context(), "c", "d", false)
	if err != nil {
		t.Fatal(err)
	}
	if string(d.Value) != "{\"a\":1}\n" || d.Region != "eu-west" {
		t.Errorf("%s from %s", d.Value, d.Region)
	}
	out := must(t, "status", "--addr", eu.url)
	if !strings.Contains(out, "Cluster test, 2 regions, mesh, seen from eu-west") || !strings.Contains(out, "us-east  up") {
		t.Errorf("status:\n%s", out)
	}
}
