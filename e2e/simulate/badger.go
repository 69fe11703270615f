package main

import (
	"os"

	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/store"
)

// A folder is a store whose folder goes with it.
type folder struct {
	store.Store
	dir string
}

// Close implements store.Store.
func (f folder) Close() error {
	err := f.Store.Close()
	if rerr := os.RemoveAll(f.dir); err == nil {
		err = rerr
	}
	return err
}

func openBadger() (store.Store, error) {
	dir, err := os.MkdirTemp("", "simulate-")
	if err != nil {
		return nil, err
	}
	s, err := badgerstore.Open(dir, badgerstore.Options{
		NoSync: true, MemTableBytes: badgerstore.MinMemTableBytes, BlockCacheBytes: 1 << 20, IndexCacheBytes: 1 << 20, ReserveBytes: -1,
	})
	if err != nil {
		return nil, err
	}
	return folder{s, dir}, nil
}
