// Package badgerstore keeps a region's records in a folder, with Badger.
//
// The folder holds FORMAT, which says whose it is and in which format, badger/,
// which Badger locks for one process, and a marker.
//
// # Copies
//
// By the marker, an empty file of which Badger keeps the inode and its times, Open
// notices that the folder was copied, or put back from a copy, also over itself
// (Store.Continuous). It takes some folders for copies that are none: whatever changes
// the marker's inode (chown, chmod, hard links) makes it another. What it cannot see
// is a volume that was put back below the file system, a snapshot that keeps inodes and
// their times (Btrfs, ZFS), and a copy that was made while the store was open, and
// put back before it was opened again by a tool that leaves files as they are that look the same.
//
// # Durability
//
// A batch is one transaction of Badger, whose journal (the write-ahead log of
// the memory table) is synced before Commit returns. A batch that does not fit
// one transaction is first written as a whole under keys of its own, then marked
// as complete, then carried out, in transactions of which each fits; Open
// carries out what is marked and drops what is not. Badger does not sync its
// folder when it starts a new journal, so Commit does, before it returns.
//
// What a batch appends to the log of one replica is one record, a segment (see
// log.go): it costs one insertion, and cutting it off another.
//
// Values above half a megabyte are cut into chunks, so that nothing goes to
// Badger's value log: it would need collecting, and finds its garbage late.
//
// Readers look at the state of the last acknowledged commit (Badger's managed
// mode): they never wait for one that is under way and never see one that failed.
//
// # Space
//
// What is replaced or removed goes as Badger merges its levels, which it does as it is
// written to. A store that is written to no more keeps some of it; Compact merges all
// levels into one, with what was in memory.
//
// # A full disk
//
// Badger writes its files through memory maps of sparse files. When the disk has
// no block left for a page, the kernel sends SIGBUS and the process dies; there
// is no error to handle. Nothing that was acknowledged is lost by that, but a
// process that dies serves no reads either. So the store keeps away from
// that point: it refuses commits with store.ErrFull, before it writes anything,
// as long as the disk has less room than ReserveBytes, out of which flushes and
// compactions that are under way can finish. It needs nothing but space to go on.
// Open needs room too, to flush what the journal holds, and fails with ErrFull
// without it. Another process that fills the disk faster than compactions end
// can still kill this one.
//
// # A broken disk
//
// After a commit that failed otherwise the store refuses all others, and serves reads:
// what the system has of the files may not be what is on the disk. Close does
// not wait for ever for what the disk does not take. What was acknowledged is
// there when the store is opened again.
package badgerstore
