package memstore_test

import (
	"testing"

	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/region/store/storetest"
)

var factory = storetest.Factory{
	Open:   func(testing.TB) store.Store { return memstore.New() },
	Reopen: func(_ testing.TB, s store.Store) store.Store { return s.(*memstore.Store).Crash() },
}

func TestConformance(t *testing.T) { storetest.Run(t, factory) }
