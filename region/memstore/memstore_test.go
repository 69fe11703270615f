package memstore_test

import (
	"errors"
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

func TestModel(t *testing.T) { storetest.RunModel(t, factory) }

func BenchmarkStore(b *testing.B) { storetest.RunBenchmarks(b, factory) }

func put(t *testing.T, s store.Store, value string) error {
	t.Helper()
	return s.Commit(&store.Batch{Meta: map[string][]byte{"m": []byte(value)}})
}

func want(t *testing.T, s store.Reader, value string) {
	t.Helper()
	got, err := s.Meta("m")
	if err != nil || string(got) != value {
		t.Errorf("the store has %q, %v, want %q", got, err, value)
	}
}

var errDisk = errors.New("the disk is on fire")

func TestFullDiskLeavesTheStoreUsable(t *testing.T) {
	s := memstore.New()
	if err := put(t, s, "1"); err != nil {
		t.Fatal(err)
	}
	s.FailNext(memstore.Fault{Err: store.ErrFull, Kept: true})
	if err := put(t, s, "2"); !errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFailed) {
		t.Errorf("commit on a full disk: %v", err)
	}
	want(t, s, "1")
	if err := put(t, s, "3"); err != nil {
		t.Fatal(err)
	}
	want(t, s, "3")
	want(t, s.Crash(), "3")
}

func TestAnyOtherFaultFailsTheStore(t *testing.T) {
	for _, kept := range []bool{false, true} {
		s := memstore.New()
		if err := put(t, s, "1"); err != nil {
			t.Fatal(err)
		}
		s.FailNext(memstore.Fault{Err: errDisk, Kept: kept})
		if err := put(t, s, "2"); !errors.Is(err, store.ErrFailed) || !errors.Is(err, errDisk) {
			t.Errorf("commit on a broken disk: %v", err)
		}
		if err := put(t, s, "3"); !errors.Is(err, store.ErrFailed) {
			t.Errorf("commit after a failure: %v", err)
		}
		want(t, s, "1")
		after := map[bool]string{false: "1", true: "2"}[kept]
		want(t, s.Clone(), after)
		crashed := s.Crash()
		want(t, crashed, after)
		if err := put(t, crashed, "4"); err != nil {
			t.Error(err)
		}
		want(t, crashed, "4")
	}
}

func TestCrashEndsTheOldStore(t *testing.T) {
	s := memstore.New()
	if err := put(t, s, "1"); err != nil {
		t.Fatal(err)
	}
	sn := s.Snapshot()
	next := s.Crash()
	if err := put(t, s, "2"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("commit after the crash: %v", err)
	}
	for _, r := range []store.Reader{s, sn} {
		if _, err := r.Meta("m"); !errors.Is(err, store.ErrClosed) {
			t.Errorf("read after the crash: %v", err)
		}
	}
	want(t, next, "1")
}

func TestClonesPart(t *testing.T) {
	s := memstore.New()
	if err := put(t, s, "1"); err != nil {
		t.Fatal(err)
	}
	c, image := s.Clone(), s.Image()
	if !s.Continuous() || c.Continuous() || c.Crash().Continuous() || !image.Continuous() {
		t.Error("a clone, and nothing else, is to be known for a copy")
	}
	c = s.Clone()
	if err := put(t, s, "2"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, c, "3"); err != nil {
		t.Fatal(err)
	}
	want(t, s, "2")
	want(t, c, "3")
	want(t, image, "1")
	if !c.Continuous() {
		t.Error("a clone that was written to is still taken for a copy")
	}
	if s.Commits() != 2 || c.Commits() != 1 {
		t.Errorf("%d and %d commits", s.Commits(), c.Commits())
	}
}
