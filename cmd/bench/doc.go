// Package bench puts load on regions and measures what it costs and how soon it
// is seen elsewhere: latencies, throughput, visibility in the other regions,
// traffic between them, and what the processes take of the machine.
//
// The regions are those at given addresses, or a local cluster of processes made
// for the run. Whatever answers the few routes that are used can be measured.
package bench
