package topology

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// settleRounds is how many rounds of observing and planning may pass until the
// links are final: try, find who answers, let go of the rest, see that nothing
// changes any more.
const settleRounds = 4

func star(central ...string) Spec {
	return Spec{Kind: Star, Hub: central[0], Deputies: central[1:]}
}

func TestSettledPlans(t *testing.T) {
	mesh, ring := Spec{Kind: Mesh}, Spec{Kind: Ring}
	tests := []struct {
		name    string
		spec    Spec
		members string
		cuts    string
		dead    string
		links   string            // that are up in the end
		routes  map[string]string // origin -> transmissions
	}{
		{"mesh of one", mesh, "a", "", "", "", map[string]string{"a": ""}},
		{"mesh", mesh, "a b c", "", "", "a-b a-c b-c", map[string]string{
			"a": "a>b a>c", "b": "b>a b>c", "c": "c>a c>b"}},
		{"mesh, one link cut", mesh, "a b c", "a-b", "", "a-c b-c", map[string]string{
			"a": "a>c c>b", "b": "b>c c>a", "c": "c>a c>b"}},
		{"mesh, only a chain is left", mesh, "o p x y", "o-p o-y p-x", "", "o-x p-y x-y", map[string]string{
			"o": "o>x x>y y>p", "p": "p>y x>o y>x", "x": "x>o x>y y>p"}},
		{"mesh, relay dead", mesh, "a b c d", "a-b", "c", "a-d b-d", map[string]string{
			"a": "a>d d>b", "b": "b>d d>a"}},
		{"mesh in two halves", mesh, "a b c d", "a-c a-d b-c b-d", "", "a-b c-d", map[string]string{
			"a": "a>b", "d": "d>c"}},

		{"ring of one", ring, "a", "", "", "", map[string]string{"a": ""}},
		{"ring of two", ring, "a b", "", "", "a-b", map[string]string{"a": "a>b", "b": "b>a"}},
		{"ring of three", ring, "a b c", "", "", "a-b a-c b-c", map[string]string{"a": "a>b a>c"}},
		{"ring of five", ring, "a b c d e", "", "", "a-b a-e b-c c-d d-e", map[string]string{
			"a": "a>b a>e b>c e>d", "c": "b>a c>b c>d d>e"}},
		{"ring, one dead", ring, "a b c d e", "", "b", "a-c a-e c-d d-e", map[string]string{
			"c": "c>a c>d d>e"}},
		{"ring, neighbours dead", ring, "a b c d e f", "", "b c", "a-d a-f d-e e-f", map[string]string{
			"e": "d>a e>d e>f"}},
		{"ring, all others dead", ring, "a b c", "", "a c", "", map[string]string{"b": ""}},
		{"ring, one link cut", ring, "a b c d e", "a-b", "", "a-c a-e b-c b-e c-d d-e", map[string]string{
			"b": "b>c b>e e>a e>d"}},
		{"ring, parts interleave", ring, "a b c d e", "a-b a-d b-c b-e c-d d-e", "", "a-c a-e b-d c-e", map[string]string{
			"a": "a>c a>e", "b": "b>d"}},
		{"ring, parts hang on one link", ring, "a b c d e f",
			"a-d a-e a-f b-d b-f c-d c-e c-f", "", "a-b a-c b-c b-e d-e d-f e-f", map[string]string{
				"b": "b>a b>c b>e e>d e>f"}},

		{"star of one", star("a"), "a", "", "", "", map[string]string{"a": ""}},
		{"star of two", star("b"), "a b", "", "", "a-b", map[string]string{"a": "a>b", "b": "b>a"}},
		{"star", star("h", "d"), "a b d h", "", "", "a-h b-h d-h", map[string]string{
			"a": "a>h h>b h>d", "h": "h>a h>b h>d"}},
		{"star, hub dead", star("h", "d"), "a b d h", "", "h", "a-d b-d", map[string]string{
			"a": "a>d d>b", "d": "d>a d>b"}},
		{"star, hub and deputy dead", star("h", "d", "c"), "a b c d h", "", "h d", "a-c b-c", map[string]string{
			"a": "a>c c>b"}},
		{"star, all deputies dead", star("h", "d"), "a b c d h", "", "h d", "a-b a-c", map[string]string{
			"b": "a>c b>a"}},
		{"star, deputy dead", star("h", "d"), "a b d h", "", "d", "a-h b-h", map[string]string{
			"a": "a>h h>b"}},
		{"star, spoke cut from the hub", star("h", "d"), "a b d h", "a-h", "", "a-d b-h d-h", map[string]string{
			"a": "a>d d>h h>b", "b": "b>h d>a h>d"}},
		{"star, deputy cut from the hub", star("h", "d", "e"), "a d e h", "d-h", "", "a-h d-e e-h", map[string]string{
			"d": "d>e e>h h>a"}},
		{"star, parts hang on one link", star("h", "d", "e"), "a b d e h",
			"d-h e-h b-d b-e a-e", "", "a-d a-h b-h d-e", map[string]string{
				"b": "a>d b>h d>e h>a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(strings.Fields(tt.members), tt.cuts, tt.dead)
			plans, obs, ok := n.settle(tt.spec, nil, settleRounds)
			if !ok {
				t.Fatal("the links do not settle")
			}
			if got := upLinks(obs); got != tt.links {
				t.Errorf("links:\n got %s\nwant %s", got, tt.links)
			}
			for origin, want := range tt.routes {
				sent := flood(plans, n.up, origin, origin)
				slices.Sort(sent)
				wanted := strings.Fields(want)
				slices.Sort(wanted)
				if !slices.Equal(sent, wanted) {
					t.Errorf("route of %s:\n got %v\nwant %v", origin, sent, wanted)
				}
			}
		})
	}
}

// upLinks returns the links of the observations, like "a-b b-c".
func upLinks(obs Observations) string {
	var links []string
	for a := range obs {
		for b := range obs {
			if a < b && obs.Linked(a, b) == LinkUp {
				links = append(links, a+"-"+b)
			}
		}
	}
	slices.Sort(links)
	return strings.Join(links, " ")
}

// With nothing known, nobody looks further than the shape asks.
func TestFirstPlanIsTheShape(t *testing.T) {
	members := []string{"e", "b", "a", "c", "d"}
	tests := []struct {
		spec Spec
		self string
		want string
	}{
		{Spec{}, "c", "a b d e"},
		{Spec{Kind: Mesh}, "a", "b c d e"},
		{Spec{Kind: Ring}, "a", "b e"},
		{Spec{Kind: Ring}, "c", "b d"},
		{star("c", "d"), "a", "c"},
		{star("c", "d"), "d", "c"},
		{star("c", "d"), "c", "a b d e"},
		{star("gone", "d"), "a", "d"},
		{star("gone"), "b", "a"},
	}
	for _, tt := range tests {
		plan := Make(tt.self, members, tt.spec, nil, nil)
		if got := strings.Join(plan.Peers(), " "); got != tt.want {
			t.Errorf("%+v: peers of %s: got %q, want %q", tt.spec, tt.self, got, tt.want)
		}
	}
}

// What is dead keeps being dialled, and the links are those of the shape again
// once it is back.
func TestReturnOfTheDead(t *testing.T) {
	members := strings.Fields("a b c d h")
	for _, spec := range []Spec{{Kind: Mesh}, {Kind: Ring}, star("h", "d")} {
		t.Run(string(spec.Kind), func(t *testing.T) {
			healthy := newNetwork(members, "", "")
			_, before, _ := healthy.settle(spec, nil, settleRounds)
			for _, gone := range []string{"h", "d", "h d", "a b c d"} {
				n := newNetwork(members, "", gone)
				plans, obs, ok := n.settle(spec, before, settleRounds)
				if !ok {
					t.Fatalf("without %s the links do not settle", gone)
				}
				for dead := range n.dead {
					dialled := func(name string) bool { return slices.Contains(plans[name].Peers(), dead) }
					if !slices.ContainsFunc(members, dialled) {
						t.Errorf("nobody looks for %s", dead)
					}
				}
				_, after, ok := healthy.settle(spec, obs, settleRounds)
				if !ok || upLinks(after) != upLinks(before) {
					t.Errorf("links after the return of %s: got %s, want %s", gone, upLinks(after), upLinks(before))
				}
			}
		})
	}
}

// The relays of different pairs differ, and only the pairs of a dead relay get
// another one.
func TestRelayTakeover(t *testing.T) {
	members := strings.Fields("a b c d e f g h")
	cuts := "a-b c-d e-f g-h"
	relays := func(dead string) map[string]string {
		n := newNetwork(members, cuts, dead)
		plans, _, ok := n.settle(Spec{Kind: Mesh}, nil, settleRounds)
		if !ok {
			t.Fatal("the links do not settle")
		}
		relays := map[string]string{}
		for origin := range plans {
			for _, s := range flood(plans, n.up, origin, origin) {
				if from, to, _ := strings.Cut(s, ">"); from != origin {
					relays[origin+">"+to] = from
				}
			}
		}
		return relays
	}
	before := relays("")
	if len(before) != 8 {
		t.Fatalf("got relays %v, want one for each direction of four cuts", before)
	}
	spread := map[string]bool{}
	for _, relay := range before {
		spread[relay] = true
	}
	if len(spread) < 3 {
		t.Errorf("all is relayed by %v", spread)
	}
	dead := before["a>b"]
	for way, relay := range relays(dead) {
		if relay == dead || before[way] != dead && before[way] != relay {
			t.Errorf("without %s, %s goes by %s, before by %s", dead, way, relay, before[way])
		}
	}
}

// Changing the kind takes effect on a running cluster, and no change is missed
// in between.
func TestLiveChangeOfShape(t *testing.T) {
	n := newNetwork(strings.Fields("a b c d e f"), "", "")
	specs := []Spec{{Kind: Mesh}, {Kind: Ring}, star("c"), star("f"), {Kind: Ring}, {Kind: Mesh}}
	var obs Observations
	for _, spec := range specs {
		for round := range settleRounds {
			plans := n.plans(spec, obs)
			if carry := func(a, b string) bool { return obs.Linked(a, b) == LinkUp }; obs != nil {
				if got := receivers(flood(plans, carry, "b", "b")); len(got) != len(n.members)-1 {
					t.Errorf("%+v, round %d: only %v receive", spec, round, got)
				}
			}
			obs = n.observe(plans)
		}
	}
}

func TestOwnObservationOverridesOldReports(t *testing.T) {
	members := strings.Fields("a b c")
	// b's report is older than its link with a.
	obs := Observations{"a": {"b", "c"}, "b": {}, "c": {"a"}}
	if !Make("a", members, Spec{}, obs, nil).Forward("c", "b") {
		t.Error("a hears b and does not pass on what b may miss")
	}
	// Others trust the report, and relay when they can.
	obs = Observations{"a": {"b", "c"}, "b": {"c"}, "c": {"a", "b"}}
	if !Make("c", members, Spec{}, obs, nil).Forward("a", "b") {
		t.Error("b says that it does not hear a, and c does not relay")
	}
	// What self does not hear is down, whatever the other end said once.
	obs = Observations{"a": {"b"}, "b": {"a"}, "c": {"a"}}
	if Make("a", members, Spec{}, obs, nil).Forward("b", "c") {
		t.Error("a relays over a link that it does not hear")
	}
}

// The changes of an origin that has gone, or is a member no more, still spread.
func TestStrays(t *testing.T) {
	n := newNetwork(strings.Fields("a b c d x"), "a-b", "x")
	for _, spec := range []Spec{{Kind: Mesh}, {Kind: Ring}, star("d")} {
		plans, _, ok := n.settle(spec, nil, settleRounds)
		if !ok {
			t.Fatal("the links do not settle")
		}
		for _, origin := range []string{"x", "evicted"} {
			for at := range plans {
				sent := flood(plans, n.up, origin, at)
				got := receivers(sent)
				got[at]++
				if len(got) != 4 || len(sent) != 6 {
					t.Errorf("%s: %s's change at %s goes %v", spec.Kind, origin, at, sent)
				}
			}
		}
	}
}

func TestNotAMember(t *testing.T) {
	plan := Make("z", []string{"a", "b"}, Spec{}, nil, nil)
	if len(plan.Peers()) > 0 || plan.Dials("a") || plan.Forward("z", "a") || plan.Forward("a", "b") {
		t.Errorf("got %+v, want the zero plan", plan)
	}
}

func BenchmarkMake(b *testing.B) {
	var members []string
	for i := range 20 {
		members = append(members, fmt.Sprintf("region-%02d", i))
	}
	for _, spec := range []Spec{{Kind: Mesh}, {Kind: Ring}, star(members[3], members[5])} {
		n := newNetwork(members, "", members[7])
		for i := 0; i+1 < len(members); i += 2 {
			delete(n.works, pair(members[i], members[i+1]))
		}
		_, obs, ok := n.settle(spec, nil, settleRounds)
		if !ok {
			b.Fatal("the links do not settle")
		}
		b.Run(string(spec.Kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Make(members[0], members, spec, obs, nil)
			}
		})
	}
}

// A hub, or a neighbour in a ring, that passes nothing on is linked with as ever, and those that
// it would join have links of their own.
func TestIdleRegionDoesNotJoinPieces(t *testing.T) {
	members := []string{"a", "b", "c", "d", "e"}
	heard := Observations{}
	for _, name := range members {
		heard[name] = members
	}
	for name, tt := range map[string]struct {
		spec Spec
		idle []string
		want map[string][]string
	}{
		"nobody":        {Spec{Kind: Star, Hub: "a"}, nil, map[string][]string{"a": {"b", "c", "d", "e"}, "c": {"a"}}},
		"hub":           {Spec{Kind: Star, Hub: "a"}, []string{"a"}, map[string][]string{"a": {"b", "c", "d", "e"}, "c": {"a", "b", "d", "e"}}},
		"hub and more":  {Spec{Kind: Star, Hub: "a"}, []string{"a", "b"}, map[string][]string{"b": {"a"}, "c": {"a", "d", "e"}}},
		"leaf":          {Spec{Kind: Star, Hub: "a"}, []string{"b"}, map[string][]string{"b": {"a"}, "c": {"a"}}},
		"one of a ring": {Spec{Kind: Ring}, []string{"b"}, map[string][]string{"a": {"b", "e"}, "c": {"b", "d"}}},
		"two of a ring": {Spec{Kind: Ring}, []string{"b", "d"}, map[string][]string{"a": {"b", "c", "e"}, "c": {"a", "b", "d", "e"}, "d": {"c", "e"}}},
	} {
		for self, want := range tt.want {
			if got := Make(self, members, tt.spec, heard, tt.idle).Peers(); !slices.Equal(got, want) {
				t.Errorf("%s: %s links with %v, not %v", name, self, got, want)
			}
		}
	}
}
