package topology

import "slices"

// Observations holds what each region last said about its links: the regions
// that it hears. A region without an entry has said nothing, and its links
// count as up unless the other end says otherwise. So a region that starts may
// leave itself out until it has dialled once, and is not looked for by all
// until then.
//
// Silence is no proof of a fault: regions that keep no link do not hear each
// other either.
type Observations map[string][]string

// LinkState says what is known of a link.
type LinkState int

// The states of a link.
const (
	LinkUnknown LinkState = iota // not both ends have said something
	LinkDown                     // one end does not hear the other
	LinkUp                       // both ends hear each other
)

// Linked returns what is known of the link between a and b.
func (o Observations) Linked(a, b string) LinkState {
	ab, ba := o.hears(a, b), o.hears(b, a)
	switch {
	case ab == LinkDown || ba == LinkDown:
		return LinkDown
	case ab == LinkUp && ba == LinkUp:
		return LinkUp
	default:
		return LinkUnknown
	}
}

// hears returns what a says of its hearing b.
func (o Observations) hears(a, b string) LinkState {
	heard, known := o[a]
	switch {
	case !known:
		return LinkUnknown
	case slices.Contains(heard, b):
		return LinkUp
	default:
		return LinkDown
	}
}

// graph returns the links that are not known to be down.
func (o Observations) graph(regions []string) graph {
	up := newGraph(len(regions))
	for i, j := range pairs(len(regions)) {
		if o.Linked(regions[i], regions[j]) != LinkDown {
			up.add(i, j)
		}
	}
	return up
}
