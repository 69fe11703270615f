package topology

import "slices"

// Plan is what one region, self, does for the traffic between the regions. It
// does not change, and may be used by several goroutines. The zero Plan links
// with nobody.
type Plan struct {
	self   string
	peers  []string
	routes map[string][]string // origin -> peers, for all origins with a known path to self
	strays []string            // peers, for the other origins
	next   map[string]string   // region -> the peer through which it is reached
}

// A Tie is a pair of regions that keep a link whatever the shape is.
type Tie [2]string

// Make returns the plan of self. A self that is not a member gets the zero
// plan; names in spec, obs, idle and ties that are not members are passed over. Idle are
// the regions that pass nothing on for a while.
func Make(self string, members []string, spec Spec, obs Observations, idle []string, ties ...Tie) Plan {
	regions := spec.order(members)
	me := slices.Index(regions, self)
	if me < 0 {
		return Plan{}
	}
	up := obs.graph(regions)
	rests := make([]bool, len(regions))
	for i, name := range regions {
		rests[i] = slices.Contains(idle, name)
	}
	want := wish(spec.Kind, up, rests)
	for _, t := range ties {
		if i, j := slices.Index(regions, t[0]), slices.Index(regions, t[1]); i >= 0 && j >= 0 && i != j {
			want.add(i, j)
		}
	}
	links := want.both(up)
	p := Plan{self: self, routes: make(map[string][]string, len(regions)), next: map[string]string{}}
	for i, name := range regions {
		if !want[me][i] {
			continue
		}
		p.peers = append(p.peers, name)
		// What self hears is certain, what the peer said of self may be old.
		// It may add to the traffic only: want is the same for all.
		if obs.hears(self, name) == LinkUp {
			links.add(me, i)
		}
	}
	slices.Sort(p.peers)
	p.routes[self] = p.peers
	p.route(me, regions, links)
	return p
}

// route fills in whom the changes of the other origins are passed on to.
func (p *Plan) route(me int, regions []string, links graph) {
	near := links.distances(me)
	for origin := range regions {
		if origin == me || near[origin] == unreachable {
			continue
		}
		t := newTree(links, regions, origin)
		p.routes[regions[origin]] = t.neighbours(me, t.isParent)
		if parents := t.neighbours(me, func(i, j int) bool { return t.isParent(j, i) }); len(parents) > 0 {
			p.next[regions[origin]] = parents[0]
		}
	}
	root := slices.IndexFunc(near, func(d int) bool { return d != unreachable })
	t := newTree(links, regions, root)
	p.strays = t.neighbours(me, func(i, j int) bool { return t.isParent(i, j) || t.isParent(j, i) })
}

// Peers returns, sorted, the regions that self should keep a link with, those
// included that do not answer now. The caller must not change it.
func (p Plan) Peers() []string { return p.peers }

// Dials reports whether self dials the peer; if not, it waits for the peer to
// dial. It depends on the names alone, so that two regions never disagree.
func (p Plan) Dials(peer string) bool {
	return p.self < peer && slices.Contains(p.peers, peer)
}

// Next returns the peer through which self reaches a region, by a shortest path
// of links that are up: the region itself if they are linked, "" if no path is known.
func (p Plan) Next(region string) string { return p.next[region] }

// Forward reports whether self sends the changes that were made in region
// origin, which may be self, to the peer as they come, provided that their
// link is up.
func (p Plan) Forward(origin, peer string) bool {
	route, known := p.routes[origin]
	if !known {
		route = p.strays
	}
	return slices.Contains(route, peer)
}
