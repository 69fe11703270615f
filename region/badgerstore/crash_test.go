package badgerstore_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/store"
)

// crashDirEnv makes the test binary a child that commits in the named folder
// until it is killed.
const crashDirEnv = "MERIDIAN_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var (
	crashReplica    = crdt.ReplicaID{0: 1, 6: 0x70, 15: 9}
	crashCollection = crdt.Dot{Replica: crashReplica, Seq: 1}
	crashOptions    = badgerstore.Options{MemTableBytes: badgerstore.MinMemTableBytes}
)

const crashDocs = 12

// crashRound is the round that the store is at; 0 if it is empty.
func crashRound(s store.Reader) (uint64, error) {
	b, err := s.Meta("round")
	if b == nil || err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}

func crashState(round uint64, d int) []byte {
	n := 100
	switch {
	case round%13 == 0: // does not fit one transaction
		n = 400 << 10
	case round%7 == 0 && d == 0: // goes to the value log
		n = 3 << 20
	}
	b := fmt.Appendf(make([]byte, 0, n+20), "%020d", round)
	return append(b, bytes.Repeat([]byte{byte(round) + byte(d)}, n)...)
}

func crashChild(dir string) error {
	s, err := badgerstore.Open(dir, crashOptions)
	if err != nil {
		return err
	}
	round, err := crashRound(s)
	if err != nil {
		return err
	}
	for {
		round++
		b := &store.Batch{Meta: map[string][]byte{"round": strconv.AppendUint(nil, round, 10)}}
		for d := range crashDocs {
			key := store.DocKey{Collection: crashCollection, ID: strconv.Itoa(d)}
			b.Docs = append(b.Docs, store.DocPut{Key: key, State: crashState(round, d)})
		}
		b.Log = []store.LogPut{{Dot: crdt.Dot{Replica: crashReplica, Seq: round}, Change: strconv.AppendUint(nil, round, 10)}}
		if err := s.Commit(b); err != nil {
			return err
		}
		fmt.Println(round)
	}
}

// crashCheck verifies that the store is exactly at a round that is not older
// than what was acknowledged.
func crashCheck(t *testing.T, s store.Store, acked uint64) uint64 {
	t.Helper()
	round, err := crashRound(s)
	if err != nil {
		t.Fatal(err)
	}
	if round < acked || round > acked+1 {
		t.Fatalf("the store is at round %d, acknowledged were %d", round, acked)
	}
	n := 0
	for e, err := range s.Docs(crashCollection, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		d, _ := strconv.Atoi(e.ID)
		if !bytes.Equal(e.State, crashState(round, d)) {
			t.Fatalf("document %s is %.20q with %d bytes, not that of round %d", e.ID, e.State, len(e.State), round)
		}
		n++
	}
	if round > 0 && n != crashDocs {
		t.Fatalf("%d documents", n)
	}
	seq := uint64(0)
	for e, err := range s.Log(crashReplica, 0, ^uint64(0)) {
		if seq++; err != nil || e.Dot.Seq != seq || string(e.Change) != strconv.FormatUint(seq, 10) {
			t.Fatalf("log entry %d is %v %q, %v", seq, e.Dot, e.Change, err)
		}
	}
	if seq != round {
		t.Fatalf("the log ends at %d in round %d", seq, round)
	}
	return round
}

func TestAcknowledgedBatchesSurviveKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	rng := rand.New(rand.NewPCG(1, 2))
	last := uint64(0)
	for range rounds {
		// #nosec G204: the test binary itself.
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		acked := last
		want := last + 1 + rng.Uint64N(60)
		delay := time.Duration(rng.IntN(4)) * time.Millisecond
		killed := false
		for sc := bufio.NewScanner(out); sc.Scan(); {
			n, err := strconv.ParseUint(sc.Text(), 10, 64)
			if err != nil || n != acked+1 {
				t.Errorf("the child says %q after %d", sc.Text(), acked)
			}
			acked = n
			if acked >= want && !killed {
				killed = true
				// At some moment within what it does next.
				time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // it was killed
		timer.Stop()
		if !killed {
			t.Fatalf("the child ended by itself at %d", acked)
		}
		s, err := badgerstore.Open(dir, crashOptions)
		if err != nil {
			t.Fatal(err)
		}
		last = crashCheck(t, s, acked)
		t.Logf("killed after %d, found %d", acked, last)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
