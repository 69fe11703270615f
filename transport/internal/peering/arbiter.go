package peering

import "github.com/meridiandb/meridian/transport/wire"

// A verdict is what becomes of a connection that a peer has dialled.
type verdict int

const (
	adopt   verdict = iota // it is to be the link; a dial of ours is called off
	park                   // it is to be the link if our own dial comes to nothing
	replace                // it is to be the link in place of the one that there is
	refuse                 // it is not needed
)

// arbitrate decides about a connection that a peer has dialled and introduced
// with p. The side that accepts decides alone; the side that dialled waits. It
// knows
//   - linked: the peer's preface on the link that there is, or nil,
//   - dialing: whether this side is dialling the peer,
//   - smaller: whether this side's name is the smaller one.
//
// With a link, the question is whether the peer still held that link when it
// dialled. The preface of the link tells how many times the peer had dialled
// when it last agreed to a link. A later dial, or one of another incarnation,
// means that the peer has lost the link, though this side has not noticed yet:
// the new connection replaces it. An earlier dial crossed the link's on its way
// and the peer has already called it off.
//
// Without a link and with both sides dialling, the smaller one's dial is to
// stay. The greater one takes it, and calls off its own; the smaller one keeps
// the other's connection in reserve until its own dial is through. So both end
// with the same connection, and neither has seen another one come and go.
func arbitrate(p wire.Preface, linked *wire.Preface, dialing, smaller bool) verdict {
	switch {
	case linked != nil && newer(p, *linked):
		return replace
	case linked != nil:
		return refuse
	case dialing && smaller:
		return park
	default:
		return adopt
	}
}

// newer reports whether p was made after the peer agreed to the link with q.
func newer(p, q wire.Preface) bool {
	return p.Incarnation != q.Incarnation || p.Attempt > q.Attempt
}
