// Package client is a small client of a region's HTTP API. It needs nothing but
// the standard library.
//
// A [Client] talks to one region: the one whose address it was given, or the
// nearest of several (see [Nearest]). It keeps the causal token of the last
// answer in memory and sends it along, so that what one client does in turn is
// seen in that order, also when it is pointed at another region by [Client.At].
// It never repeats a request by itself, nor takes it to another region: only
// the caller knows whether a write may be made twice.
//
// Documents are passed as the bytes of their JSON and never decoded here, so
// that numbers stay as exact as the server keeps them.
package client
