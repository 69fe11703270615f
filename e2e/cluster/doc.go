// Package cluster runs regions as real processes: the program itself, built once
// per test run, with certificates of its own authority, on free ports of the
// loopback. Tests talk to the regions over HTTP, cut the links between them,
// stop, kill and restart them. What the regions logged is shown when a test
// fails.
//
// Nothing here sleeps to let something happen: what is waited for is polled,
// and every wait has a deadline.
package cluster
