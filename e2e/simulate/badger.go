package main

import (
	"errors"

	"github.com/meridiandb/meridian/region/store"
)

func openBadger() (store.Store, error) { return nil, errors.ErrUnsupported }
