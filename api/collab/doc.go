// Package collab lets the clients that hold a replica of a document themselves
// work on it together, through the region that they are connected with: it
// speaks the network protocol of automerge-repo, version 1, over WebSocket.
//
// A document's id in automerge-repo is its id in the collection. What a client
// sends becomes ordinary writes; what is committed, by whomever and wherever, is
// offered to every client that has the document open. Nothing is queued for a
// client but which documents it has to hear of: what it is sent is worked out
// when it can take it. A client that takes nothing in for [WriteTimeout] is
// dropped.
//
// The protocol: https://github.com/automerge/automerge-repo, packages
// automerge-repo and automerge-repo-network-websocket.
package collab
