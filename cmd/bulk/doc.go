// Package bulk moves many documents into and out of a region over its HTTP API:
// [Import] and [Export]. Both work in memory that does not grow with the data.
//
// An import can be run again, after it was interrupted or after its input has
// grown, and ends with what one run would have made: a document is written under
// an id that depends on the input alone, and one that is there already as it
// should be is left alone.
package bulk
