package topology

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// maxRegions bounds the clusters of the property tests.
const maxRegions = 9

func drawMembers(t *rapid.T) []string {
	n := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 6, 7, 8, maxRegions}).Draw(t, "regions")
	return rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,2}`), n, n, rapid.ID).Draw(t, "members")
}

func drawSpec(t *rapid.T, members []string) Spec {
	spec := Spec{Kind: rapid.SampledFrom([]Kind{Mesh, Ring, Star}).Draw(t, "kind")}
	if spec.Kind == Star {
		central := rapid.Permutation(members).Draw(t, "central")
		n := rapid.IntRange(1, len(central)).Draw(t, "centrals")
		spec.Hub, spec.Deputies = central[0], central[1:n]
	}
	return spec
}

// drawNetwork draws from all networks, of sparse to dense links.
func drawNetwork(t *rapid.T, members []string) network {
	n := newNetwork(members, "", "")
	percent := rapid.IntRange(0, 100).Draw(t, "percent up")
	for i, j := range pairs(len(members)) {
		n.works[pair(members[i], members[j])] = rapid.IntRange(1, 100).Draw(t, "link") <= percent
	}
	for _, name := range members {
		n.dead[name] = rapid.IntRange(1, 8).Draw(t, "life") == 1
	}
	return n
}

// drawReports draws what the regions say, of themselves, of each other and of
// strangers, or that they say nothing.
func drawReports(t *rapid.T, members []string) Observations {
	hears := rapid.SliceOfDistinct(rapid.SampledFrom(append([]string{"stranger"}, members...)), rapid.ID)
	return rapid.MapOf(rapid.SampledFrom(append([]string{"stranger"}, members...)), hears).Draw(t, "reports")
}

// truth returns what all say when each knows the whole network. The dead say
// what they once said, or nothing.
func (n network) truth(t *rapid.T) Observations {
	obs := Observations{}
	for _, a := range n.members {
		if n.dead[a] {
			if rapid.Bool().Draw(t, "said something once") {
				obs[a] = rapid.SliceOf(rapid.SampledFrom(n.members)).Draw(t, "last words")
			}
			continue
		}
		obs[a] = []string{}
		for _, b := range n.members {
			if a != b && n.up(a, b) {
				obs[a] = append(obs[a], b)
			}
		}
	}
	return obs
}

func TestEachChangeReachesEachRegionOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		spec, n := drawSpec(t, members), drawNetwork(t, members)
		plans := n.plans(spec, n.truth(t))
		for origin := range plans {
			want := map[string]int{}
			for name := range reachable(members, n.up, origin) {
				want[name] = 1
			}
			delete(want, origin)
			sent := flood(plans, n.up, origin, origin)
			if got := receivers(sent); !maps.Equal(got, want) {
				t.Fatalf("%s's changes go %v, want each of %v once", origin, sent, want)
			}
		}
	})
}

func TestStraysReachEachRegion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		spec, n := drawSpec(t, members), drawNetwork(t, members)
		plans := n.plans(spec, n.truth(t))
		for at := range plans {
			sent := flood(plans, n.up, "evicted", at)
			got := receivers(sent)
			got[at]++
			if want := reachable(members, n.up, at); len(got) != len(want) || len(sent) != 2*len(want)-2 {
				t.Fatalf("a stray at %s goes %v, want %v and two ways on each link of a tree", at, sent, want)
			}
		}
	})
}

// Links that carry one way only, and reports that are missing: as long as all
// know the same, no region misses what can reach it over links that nobody
// complains of.
func TestNothingIsMissedWhenAllKnowTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		spec, obs := drawSpec(t, members), drawReports(t, members)
		plans := newNetwork(members, "", "").plans(spec, obs)
		up := func(a, b string) bool { return obs.Linked(a, b) != LinkDown }
		for _, origin := range members {
			got := receivers(flood(plans, up, origin, origin))
			got[origin]++
			for name := range reachable(members, up, origin) {
				if got[name] == 0 {
					t.Fatalf("%s misses the changes of %s", name, origin)
				}
			}
		}
	})
}

// From whatever links there are at first, observing and planning comes to rest,
// and then all are connected that can be.
func TestPlansSettle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		spec, n := drawSpec(t, members), drawNetwork(t, members)
		plans, obs, ok := n.settle(spec, drawReports(t, members), settleRounds+1)
		if !ok {
			t.Fatal("the links do not settle")
		}
		linked := func(a, b string) bool { return obs.Linked(a, b) == LinkUp }
		for name := range plans {
			got, want := reachable(members, linked, name), reachable(members, n.up, name)
			if !maps.Equal(got, want) {
				t.Fatalf("%s is linked with %v, and could be with %v", name, got, want)
			}
		}
	})
}

func TestPlansAgreeOnLinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		plans := newNetwork(members, "", "").plans(drawSpec(t, members), drawReports(t, members))
		for a, plan := range plans {
			for b, other := range plans {
				linked := slices.Contains(plan.Peers(), b)
				if linked != slices.Contains(other.Peers(), a) {
					t.Fatalf("%s and %s disagree on their link", a, b)
				}
				if linked && plan.Dials(b) == other.Dials(a) {
					t.Fatalf("%s and %s both dial, or neither", a, b)
				}
				if !linked && plan.Dials(b) {
					t.Fatalf("%s dials %s, which is no peer", a, b)
				}
			}
		}
	})
}

// Each region knows something else, and a spec may be older than the members.
func TestAnyViewMakesASoundPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		everybody := append(slices.Clone(members), "stranger", "")
		spec := Spec{
			Kind:     rapid.SampledFrom([]Kind{Mesh, Ring, Star, ""}).Draw(t, "kind"),
			Hub:      rapid.SampledFrom(everybody).Draw(t, "hub"),
			Deputies: rapid.SliceOf(rapid.SampledFrom(everybody)).Draw(t, "deputies"),
		}
		self := rapid.SampledFrom(everybody).Draw(t, "self")
		obs := drawReports(t, members)
		idle := rapid.SliceOf(rapid.SampledFrom(everybody)).Draw(t, "idle")
		plan := Make(self, members, spec, obs, idle)
		if !slices.IsSorted(plan.Peers()) || slices.Contains(plan.Peers(), self) {
			t.Fatalf("peers of %s: %v", self, plan.Peers())
		}
		if len(members) > 1 && slices.Contains(members, self) && len(plan.Peers()) == 0 {
			t.Fatalf("%s is alone", self)
		}
		for _, peer := range everybody {
			if plan.Forward(peer, peer) {
				t.Fatalf("%s sends %s its own changes", self, peer)
			}
			for _, origin := range everybody {
				if plan.Forward(origin, peer) && !slices.Contains(plan.Peers(), peer) {
					t.Fatalf("%s sends to %s, which is no peer", self, peer)
				}
			}
			if got := plan.Forward(self, peer); got != slices.Contains(plan.Peers(), peer) {
				t.Fatalf("%s sends its own changes to its peer %s: %t", self, peer, got)
			}
		}
		again := Make(self, rapid.Permutation(append(members, members...)).Draw(t, "order"), spec, obs, idle)
		if !slices.Equal(plan.Peers(), again.Peers()) || !maps.EqualFunc(plan.routes, again.routes, equalSets) ||
			!equalSets(plan.strays, again.strays) {
			t.Fatal("the order of the members matters, or naming them twice")
		}
	})
}

func equalSets(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
