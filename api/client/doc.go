// Package client is a small client of a region's HTTP API. It needs nothing but
// the standard library.
//
// A [Client] talks to one region: the one whose address it was given ([New]), or
// the nearest of several ([Nearest]); or to several, of which it asks the next
// where that is safe when the nearest fails ([Open]). It keeps the causal token of the last
// answer in memory and sends it along, so that what one client does in turn is
// seen in that order, also when it is pointed at another region by [Client.At].
// It never repeats a write that may have been made, nor takes it to another
// region: only the caller knows whether it may be made twice.
//
// Documents are passed as the bytes of their JSON and never decoded here, so
// that numbers stay as exact as the server keeps them.
package client
