// Package transport says how regions talk: a [Transport] keeps one [Link] with
// each peer that it is told of, and a [Handler] gets what arrives on it. The
// messages are those of package wire.
//
// Two packages implement it: transport/quic, over QUIC with mutual
// certificates (package certs makes them), and transport/memnet, in memory for
// tests. Both pass the suite in package transporttest. Package fault wraps
// either and breaks links on request.
//
// # Two kinds of traffic
//
// The live stream of a link carries what has just happened. Sending on it never
// blocks: the queue is bounded in bytes, and what does not fit is dropped and
// counted. A live message that was dropped, or was on its way when a link broke,
// is never sent again by the transport: version vectors show the gap, and
// catch-up fills it. Within one link, live messages that do arrive, arrive in
// order.
//
// A bulk stream carries catch-up. There can be several; each has flow control of
// its own, so that neither a large transfer nor a slow receiver of one delays
// the live stream. Writing on it blocks.
//
// # Links
//
// A link is authenticated: Peer is the region that the other side has proved to
// be. However both sides dial, there is one link per pair, and both sides hold
// the same connection: the side that accepts a connection decides whether it
// becomes the link, and the side that dialled waits for its word. When both
// dial at once, the connection dialled by the region with the smaller name
// stays. A peer that has lost the link or has restarted replaces the old one by
// dialling again, without waiting for a timeout.
package transport
