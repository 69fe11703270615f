package topology

import (
	"maps"
	"slices"
	"strings"
)

// network is the physical truth of a test: which pairs could talk, if they
// tried, and which regions run.
type network struct {
	members []string
	works   map[[2]string]bool
	dead    map[string]bool
}

// newNetwork makes a network in which all works, but for the cuts, given like
// "a-b c-d", and the dead regions, given like "a b".
func newNetwork(members []string, cuts, dead string) network {
	n := network{members: members, works: map[[2]string]bool{}, dead: map[string]bool{}}
	for _, name := range strings.Fields(dead) {
		n.dead[name] = true
	}
	for i, j := range pairs(len(members)) {
		n.works[pair(members[i], members[j])] = true
	}
	for cut := range strings.FieldsSeq(cuts) {
		a, b, _ := strings.Cut(cut, "-")
		delete(n.works, pair(a, b))
	}
	return n
}

func pair(a, b string) [2]string {
	return [2]string{min(a, b), max(a, b)}
}

func (n network) up(a, b string) bool {
	return n.works[pair(a, b)] && !n.dead[a] && !n.dead[b]
}

// plans makes the plan of each region that runs.
func (n network) plans(spec Spec, obs Observations) map[string]Plan {
	plans := map[string]Plan{}
	for _, name := range n.members {
		if !n.dead[name] {
			plans[name] = Make(name, n.members, spec, obs, nil)
		}
	}
	return plans
}

// observe returns what the regions say once they have dialled as planned.
// The dead say nothing.
func (n network) observe(plans map[string]Plan) Observations {
	obs := Observations{}
	for a, plan := range plans {
		obs[a] = []string{}
		for _, b := range plan.Peers() {
			if n.up(a, b) && slices.Contains(plans[b].Peers(), a) {
				obs[a] = append(obs[a], b)
			}
		}
	}
	return obs
}

// settle lets all observe and plan in turn until nothing changes any more. It
// fails after limit rounds.
func (n network) settle(spec Spec, obs Observations, limit int) (map[string]Plan, Observations, bool) {
	for range limit {
		plans := n.plans(spec, obs)
		next := n.observe(plans)
		if maps.EqualFunc(obs, next, slices.Equal) {
			return plans, obs, true
		}
		obs = next
	}
	return nil, nil, false
}

// flood lets a change of the origin that turned up in region at spread by the
// plans, over the links that both ends want and that carry says work. It
// returns all transmissions, like "a>b", in order.
func flood(plans map[string]Plan, carry func(a, b string) bool, origin, at string) []string {
	var sent []string
	has := map[string]bool{at: true}
	for queue := []string{at}; len(queue) > 0; queue = queue[1:] {
		from := queue[0]
		for _, to := range plans[from].Peers() {
			if !carry(from, to) || !slices.Contains(plans[to].Peers(), from) || !plans[from].Forward(origin, to) {
				continue
			}
			sent = append(sent, from+">"+to)
			if !has[to] {
				has[to] = true
				queue = append(queue, to)
			}
		}
	}
	return sent
}

// receivers counts how often each region received in a flood.
func receivers(sent []string) map[string]int {
	count := map[string]int{}
	for _, s := range sent {
		_, to, _ := strings.Cut(s, ">")
		count[to]++
	}
	return count
}

// reachable returns all that can be reached from the region over up links.
func reachable(members []string, up func(a, b string) bool, from string) map[string]bool {
	reached := map[string]bool{from: true}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, to := range members {
			if to != queue[0] && !reached[to] && up(queue[0], to) {
				reached[to] = true
				queue = append(queue, to)
			}
		}
	}
	return reached
}
