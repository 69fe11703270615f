package cmd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/api/client"
)

func TestRegionAddAndList(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	if got := must(t, "region", "list"); !strings.Contains(got, "us-east") || !strings.Contains(got, "member") {
		t.Errorf("got %q", got)
	}
	if got := must(t, "region", "add", "eu-west", "--address", "127.0.0.1:1"); !strings.Contains(got, "eu-west is a member now") {
		t.Errorf("got %q", got)
	}
	again := decode[client.Addition](t, must(t, "region", "add", "eu-west", "--address", "127.0.0.1:2", "--json"))
	if again.Added || again.Address != "127.0.0.1:2" {
		t.Errorf("%+v", again)
	}
	members := decode[[]client.Member](t, must(t, "region", "list", "--json"))
	want := []client.Member{
		{Region: "eu-west", Address: "127.0.0.1:2", State: client.MemberJoining},
		{Region: "us-east", State: client.MemberActive},
	}
	if diff := cmp.Diff(want, members); diff != "" {
		t.Error(diff)
	}
	// A region that is away does not keep this one from writing (I9).
	must(t, "put", "carts", "1", `{}`)
	mustFail(t, StatusUsage, []string{"region", "add", "eu-west"}, "--address is missing")
	mustFail(t, StatusUsage, []string{"region", "add", "eu-west", "--address", "nowhere"}, "is no address")
	mustFail(t, StatusUsage, []string{"region", "add", "EU", "--address", "127.0.0.1:1"}, "name")
	mustFail(t, StatusUsage, []string{"region", "frob"}, "no command")
}

func TestTopology(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	if got := must(t, "topology"); strings.TrimSpace(got) != "mesh" {
		t.Errorf("got %q", got)
	}
	if got := must(t, "topology", "star", "--hub", "us-east"); strings.TrimSpace(got) != "star around us-east" {
		t.Errorf("got %q", got)
	}
	if got := decode[client.Topology](t, must(t, "topology", "--json")); got.Kind != "star" || got.Hub != "us-east" {
		t.Errorf("got %+v", got)
	}
	mustFail(t, StatusFailed, []string{"topology", "star", "--hub", "nowhere"}, "422 invalid", "not a member")
	mustFail(t, StatusUsage, []string{"topology", "star"}, "needs a hub")
	mustFail(t, StatusUsage, []string{"topology", "blob"}, "unknown topology")
	mustFail(t, StatusUsage, []string{"topology", "--hub", "us-east"}, "go with star")
}
