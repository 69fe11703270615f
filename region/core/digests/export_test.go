package digests

import "github.com/meridiandb/meridian/region/store"

// OpenWith opens a table whose journal has so many records, with so many changes, while so
// many groups are unsaved.
func OpenWith(reader store.Reader, records uint64, journalled, unsaved int) (*Table, error) {
	return open(reader, limits{records, journalled, unsaved})
}

// Waiting is how many groups are unsaved, and how many changes and records the journal has of them.
func (t *Table) Waiting() (groups, changes, records int) {
	return len(t.unsaved), t.journalled, len(t.journal)
}

const JournalPrefix = journalPrefix
