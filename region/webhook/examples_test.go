package webhook_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/webhook"
)

// TestExamples runs the applications that the documentation shows.
func TestExamples(t *testing.T) {
	t.Run("go", func(t *testing.T) {
		bin := filepath.Join(t.TempDir(), "app")
		if out, err := exec.Command("go", "build", "-o", bin, "./examples/go").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		testExample(t, exec.Command(bin))
	})
	t.Run("js", func(t *testing.T) {
		node, err := exec.LookPath("node")
		if err != nil {
			t.Skip("SKIPPED: node is not installed; the JavaScript example is not tested")
		}
		testExample(t, exec.Command(node, "examples/js/app.mjs"))
	})
}

func testExample(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(os.Environ(), "SECRET="+secret, "ADDR=127.0.0.1:0")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("%q, %v", line, err)
	}
	c := webhook.NewCaller(time.Now)
	defer c.Close()
	ask := func(secret string, versions ...string) (conflict.Answer, error) {
		q := question()
		q.Path, q.Type, q.Versions = "", "register", nil
		for i, v := range versions {
			x, err := value.Parse([]byte(v), value.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			q.Versions = append(q.Versions, conflict.Version{Version: crdt.Version{Dot: crdt.Dot{Seq: uint64(i + 1)}, Value: x}})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		a, err := c.Ask(ctx, &conflict.Callback{URL: "http://" + addr + "/conflicts", Secret: secret}, q)
		if err == nil {
			err = a.Check(q)
		}
		return a, err
	}
	for _, x := range []struct {
		versions []string
		want     conflict.Answer
	}{
		{
			[]string{`{"owner":"ana","items":["tea","soap"]}`, `{"owner":"ana","items":["tea","milk"]}`},
			conflict.Answer{Kind: conflict.AnswerValue, Value: map[string]any{"owner": "ana", "items": []any{"tea", "soap", "milk"}}, Reason: "2 carts in one"},
		},
		{
			[]string{`{"owner":"ana","items":["tea"]}`, `{"owner":"ana","items":[],"locked":true}`},
			conflict.Answer{Kind: conflict.AnswerKeep, Reason: "the cart is being paid"},
		},
		{[]string{`{"owner":"ana","items":[]}`, `{"owner":"ana"}`}, conflict.Answer{Kind: conflict.AnswerDelete, Reason: "nothing is in it"}},
	} {
		if a, err := ask(secret, x.versions...); err != nil || !cmp.Equal(a, x.want) {
			t.Errorf("%v: %+v, %v", x.versions, a, err)
		}
	}
	if _, err := ask("some other secret", `{}`, `{}`); !errors.Is(err, webhook.ErrUnavailable) || !strings.Contains(err.Error(), "401") {
		t.Errorf("with another secret: %v", err)
	}
}
