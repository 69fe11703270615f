// Package api serves a region over HTTP: documents, collections, batches, the
// state of the cluster, and faults on request. README.md beside this file
// documents every route, header and problem type with examples.
//
// A [Server] has what it needs of a region in the interface [Region], which
// *region.Region satisfies. A request takes this way:
//
//	exchange.go   admission, the headers that every answer carries, panics, log
//	routes.go     which handler, by method and path
//	token.go      "not older than this": wait until the region holds the token
//	etag.go, params.go, body.go, patch.go   what the request says
//	docs.go, list.go, versions.go, batch.go, collections.go, cluster.go   handlers
//	problem.go    one table from errors to RFC 9457 problems
//
// Handlers return errors and leave it to the table what they are to the client.
// Documents are written by package value, never by encoding/json, so that
// numbers stay exact and equal documents have equal bytes.
package api
