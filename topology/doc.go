// Package topology plans the traffic between regions: who keeps a link with
// whom, who dials, and whose changes are passed on to which linked peer. It is
// pure and deterministic; [Make] is a function of the members, the wished-for
// shape and what is known of the links, and is called again whenever one of
// them changes. A plan decides traffic and delay only: version vectors drop
// what arrives twice, and pulling by vector fills what never arrived.
//
// # Links
//
// Each region has lists of whom it would rather be linked with, and wishes for
// a list's head and on, up to the first region that it is linked with. What
// stands before that one keeps being dialled, so its return is noticed. A link
// is kept when either end wishes for it.
//
//	mesh            ring             star
//
//	a --- b         a --- b          a   b
//	| \ / |         |     |           \ /
//	| / \ |         |     |           hub
//	c --- d         d --- c           /  \
//	                              deputy  c
//
//	mesh: every other region is a list of its own
//	ring: one list clockwise, one counter-clockwise; members sorted by name
//	star: one list: the hub, its deputies, the others by name
//
// So a ring closes over a dead neighbour, and a star moves to the next deputy:
//
//	a --- b         a --- b           a     b
//	|     |         |   /              \   /
//	|     |   =>    | /      (hub)    deputy
//	d --- c         d   (c)              |
//	                                     c
//
// A partial partition can still leave pieces that the shape does not join. The
// regions of different pieces then look for each other, and keep the links that
// come up until the shape's own links join the pieces. Therefore, whatever the
// shape, regions stay connected as long as any links between them work. The
// price is that a region without any link is dialled by everybody; once it is
// back it keeps the links of the shape, and the others are let go of.
//
// A region that passes nothing on, as it copies the documents of another, does not join pieces:
// those that only it would join keep links of their own for that while.
//
// Besides these, pairs that are tied keep a link whatever the shape is.
//
// # Forwarding
//
// The changes of each origin travel along a tree of shortest paths from it,
// over the links that are both wished for and up. Between equally short ways a
// rendezvous hash decides, which spreads the relaying and moves only what has
// to move when a relay dies. This one rule is plain mesh when all links are up
// (the tree is a star around the origin), a relay when one is cut, two waves
// that meet in a ring, and a hub that passes on everything:
//
//	a's changes:   a --> b        a -x- b        a --> b --> c        a --> hub --> b
//	               |              |     ^        |                           |
//	               v              v     |        v                           v
//	               c              c ----+        e --> d                     c
//
// An origin to which no path is known has no tree: it has gone, or has come
// back and word of it is still under way. Whatever of its changes turns up is
// passed on over one tree of the piece in both directions, from wherever it
// turned up.
//
// # Views that differ
//
// Regions with equal observations make plans that fit together: each change
// reaches each region once. Observations travel, so for a while they differ,
// and then a change may be sent twice or not at all. Where it costs little a
// plan errs towards twice: a link is doubted as soon as either end says that
// it does not hear the other, so that others relay; a region still passes
// changes on over a link on which it hears the peer itself, whatever an older
// report of the peer says; and its own changes go to all peers, whatever is
// known of the links. If all have the same reports, however lopsided, nothing
// is missed, and the worst is duplicates.
package topology
