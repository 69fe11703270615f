// Package relay puts a bad network between processes: UDP relays in user space, one
// for each direction in which a region dials another. A region is told the relay's
// address instead of its peer's. What passes from one region to another, whoever
// dialled, goes through one path, whose conditions can be changed at any time: cut,
// delay, jitter, loss, duplication, reordering, a limited rate.
//
// All sockets are on the loopback. The decisions of a path are drawn from the
// network's seed, packet by packet; what is in flight is bounded, and beyond that
// packets are dropped, as routers do it.
package relay
