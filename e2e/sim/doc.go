// Package sim runs whole clusters in one goroutine and in virtual time: the
// deterministic cores of several regions, their stores, and a network that
// delays, loses, duplicates and reorders, with crashes, clocks that jump and
// disks that are slow or full. Everything is drawn from one seed, so that what
// fails once fails again.
//
// [Run] carries out one seed and checks the guarantees of the store (I1 to I14,
// see ARCHITECTURE.md) after each commit and when all has healed; [Shrink] looks
// for the least that still fails.
package sim
