package badgerstore

import (
	"log/slog"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Defaults and bounds of Options.
const (
	// DefaultMemTableBytes keeps write amplification and memory low at full speed.
	DefaultMemTableBytes = 32 << 20
	// MinMemTableBytes is the least memory table in which a fast batch fits one
	// transaction of Badger, which takes 15 % of the table.
	MinMemTableBytes = 16 << 20
	// MaxMemTableBytes keeps what is replayed after a crash within reason.
	MaxMemTableBytes = 512 << 20
	// DefaultBlockCacheBytes bounds the cache of uncompressed table blocks.
	DefaultBlockCacheBytes = 64 << 20
	// DefaultIndexCacheBytes bounds the cache of table indexes and Bloom filters.
	DefaultIndexCacheBytes = 32 << 20
	// DefaultReserveTables is the default ReserveBytes in memory tables: those
	// that may wait to be flushed, in the journal and as tables, and a
	// compaction of level 0. On a roomy disk the level that this goes to comes on top.
	DefaultReserveTables = 12
	// RoomyDiskTables is the size of a roomy disk in memory tables: 2 GiB by default.
	RoomyDiskTables = 64
)

// How Badger is set up.
const (
	// valueLogThreshold is the size from which a value goes to the value log:
	// Badger's maximum. No value gets there.
	valueLogThreshold = 1 << 20
	// valueLogFileBytes is the length that Badger gives its empty value log.
	valueLogFileBytes = 2 << 20
	numMemTables      = 2
	// numCompactors is Badger's least: one for level 0, one for the others. Each compaction is
	// cut into several goroutines, and whatever a request waits for runs behind all of them.
	numCompactors = 2
	// levelZeroStall is the number of tables in level 0 at which writes wait:
	// it bounds what one compaction writes anew, and so the reserve.
	levelZeroStall = 8
	// baseLevelTables is the size of the level that level 0 is merged into, in memory
	// tables, on a roomy disk. By Badger's default, 10 MiB, what level 0 has is written
	// anew twice more, level by level, and writes wait for that.
	baseLevelTables = 4
	// tableBytes is the size of a table of any other level. A compaction is cut into more
	// goroutines the more tables it meets.
	tableBytes = 8 << 20
	// blockBytes is the size of a block of a table, which is what is read and unpacked for
	// a record that is in no cache. Badger's builder takes twice its room anew for each
	// record that a block does not hold, as by its default, 4 KiB, most of the log.
	blockBytes = 16 << 10
)

// Options are the settings of a store. The zero value is usable.
type Options struct {
	// Logger gets what the store and Badger have to say; nil discards it.
	Logger *slog.Logger
	// MemTableBytes is the size of a memory table and bounds the journal; up to
	// four exist at a time. 0 means DefaultMemTableBytes.
	MemTableBytes int64
	// BlockCacheBytes bounds the block cache. 0 means DefaultBlockCacheBytes.
	BlockCacheBytes int64
	// IndexCacheBytes bounds the index cache. 0 means DefaultIndexCacheBytes.
	IndexCacheBytes int64
	// ReserveBytes is the free space on the disk below which commits fail with
	// store.ErrFull. It must leave room for the work that Badger does in the
	// background, see the package comment. 0 means DefaultReserveTables times
	// MemTableBytes, a third more on a disk of RoomyDiskTables times that or more; a
	// negative value turns the check off.
	ReserveBytes int64
	// MustExist refuses a folder that has no store yet, with ErrNoStore.
	MustExist bool
	// NoSync leaves it to the operating system when to write to the disk: a
	// power loss may then take acknowledged commits away, but no kill -9. For
	// tests and bulk loads that can be repeated.
	NoSync bool
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.MemTableBytes, DefaultMemTableBytes)
	o.MemTableBytes = min(max(o.MemTableBytes, MinMemTableBytes), MaxMemTableBytes)
	def(&o.BlockCacheBytes, DefaultBlockCacheBytes)
	def(&o.IndexCacheBytes, DefaultIndexCacheBytes)
	return o
}

// forDisk are the settings for a disk of so many bytes, negative if that is not known, and
// the size of the level that level 0 is merged into, 0 for Badger's own.
func (o Options) forDisk(size int64) (opt Options, baseLevelBytes int64) {
	if size < 0 || size >= RoomyDiskTables*o.MemTableBytes {
		baseLevelBytes = baseLevelTables * o.MemTableBytes
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = DefaultReserveTables*o.MemTableBytes + baseLevelBytes
	}
	return o, baseLevelBytes
}

func (o Options) badger(dir string, baseLevelBytes int64) badger.Options {
	b := badger.DefaultOptions(dir)
	b.Logger = logger{o.Logger}
	b.SyncWrites = !o.NoSync
	b.DetectConflicts = false // there is one writer
	b.NumVersionsToKeep = 1
	b.MetricsEnabled = false
	b.MemTableSize = o.MemTableBytes
	b.NumMemtables = numMemTables
	b.NumCompactors = numCompactors
	b.NumLevelZeroTablesStall = levelZeroStall
	if baseLevelBytes > 0 {
		b.BaseLevelSize = baseLevelBytes
	}
	b.BaseTableSize, b.TableSizeMultiplier = tableBytes, 1
	b.ValueThreshold = valueLogThreshold
	b.ValueLogFileSize = valueLogFileBytes
	b.BlockSize = blockBytes
	b.BlockCacheSize = o.BlockCacheBytes
	b.IndexCacheSize = o.IndexCacheBytes
	b.Compression = options.Snappy
	b.ChecksumVerificationMode = options.OnBlockRead
	return b
}
