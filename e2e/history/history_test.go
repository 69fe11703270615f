package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/history"
)

func TestWhatIsRecordedIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	r, err := history.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	op := history.Op{
		Process: "p", Region: "us-east", Object: history.Bank, Kind: history.Read, Key: "k", Values: []string{"a", "b"},
		Balances: map[string]int64{"x": -1}, Start: time.Second, End: 2 * time.Second, Result: history.OK, Token: "t", Final: true,
	}
	r.Record(op)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 100 {
				r.Record(history.Op{Process: fmt.Sprint(i), Amount: int64(j), Start: r.Now()})
			}
		})
	}
	wg.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	ops, err := history.Load(path)
	if err != nil || len(ops) != 401 {
		t.Fatalf("%d operations, %v", len(ops), err)
	}
	if !reflect.DeepEqual(ops[0], op) {
		t.Errorf("loaded %v, recorded %v", ops[0], op)
	}
	next := map[string]int64{}
	for _, op := range ops[1:] {
		if op.Amount != next[op.Process] {
			t.Fatalf("operation %d of process %s is out of order", op.Amount, op.Process)
		}
		next[op.Process]++
	}
}

func TestLoadSaysWhichLineIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(path, []byte("{\"process\":\"p\"}\n{\"proc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Load(path); err == nil {
		t.Error("no error")
	}
}
