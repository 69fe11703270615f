// Package core is the deterministic heart of a region: the leader's whole state
// machine as one pure function, Step: events in, effects out. It starts no
// goroutine, reads no clock and no randomness, and does no I/O but reading
// documents and the log through the [store.Reader] that it was given. Same
// events, same effects (I10): that is what lets the simulation of package e2e
// run a cluster on one seed.
//
// Whoever drives a core (package region for real, e2e/sim in virtual time)
// calls Step, commits the batch, and only then carries out the other effects:
// nothing is acknowledged or sent before it is durable (I3). If the commit
// fails, the core is thrown away and a new one is made from what is durable.
//
// # Replication
//
// A change is pushed to linked peers right after it is durable, along the plan
// of package topology. Pushing is best effort: a dropped message does no harm.
// What is missing is pulled: every region tells its vector in Ack and Status
// messages, and one that lacks spans that a linked peer holds asks that peer
// for them (Request), who streams them from its log in causal order (CatchUp).
// A change whose dependencies are not there waits in the bounded inbox (I4, I8).
// Logs are cut where no member needs them (cutLog); a store that is behind what
// they reach takes a snapshot of another region (bootstrap).
//
// # The system collection
//
// What all regions must agree on is itself documents, in the collection with
// the zero dot: "r:<replica>" binds a replica to its region and is the first
// change of each replica; "c:<dot>" holds the settings of a collection, and
// "h:<dot>:<prefix>" who may write to its documents whose ids start so;
// "m:<region>:<n>" is a member, and "t:" the topology.
package core
