package topology

import "slices"

// Reachable returns the regions to which there is a path of links that are not
// known to be down, from itself included, in the order of names.
func (o Observations) Reachable(from string, regions []string) []string {
	regions = slices.Sorted(slices.Values(regions))
	me := slices.Index(regions, from)
	if me < 0 {
		return nil
	}
	var out []string
	for i, d := range o.graph(regions).distances(me) {
		if d != unreachable {
			out = append(out, regions[i])
		}
	}
	return out
}
