package cmd

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// commandLines returns the names of all commands of ours.
func commandLines() [][]string {
	var all [][]string
	var walk func(c *cobra.Command, names []string)
	walk = func(c *cobra.Command, names []string) {
		all = append(all, names)
		for _, sub := range c.Commands() {
			if name := sub.Name(); name != "help" && name != "completion" {
				walk(sub, append(names[:len(names):len(names)], name))
			}
		}
	}
	walk(newRoot(&app{}), nil)
	return all
}

func TestHelpIsAsGolden(t *testing.T) {
	for _, names := range commandLines() {
		name := strings.Join(append([]string{"meridian"}, names...), "-")
		t.Run(name, func(t *testing.T) {
			got := must(t, append(names, "--help")...)
			if also := must(t, append([]string{"help"}, names...)...); also != got {
				t.Errorf("help and --help differ:\n%s", cmp.Diff(got, also))
			}
			path := filepath.Join("testdata", "help", name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v (go test ./cmd -run Golden -update writes it)", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("help has changed (go test ./cmd -run Golden -update takes it over):\n%s", diff)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, names := range commandLines() {
		c, _, err := newRoot(&app{}).Find(names)
		if err != nil {
			t.Fatal(err)
		}
		if c.Short == "" || c.Long == "" || !strings.Contains(c.Example, "meridian") {
			t.Errorf("%s lacks a short or long description, or examples", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if len([]rune(line)) > 100 {
				t.Errorf("%s: a line of the help is wider than 100 columns: %q", c.CommandPath(), line)
			}
		}
	}
}

func TestHelpWithoutCommand(t *testing.T) {
	if out := must(t); !strings.Contains(out, "meridian demo") {
		t.Errorf("no quick start in\n%s", out)
	}
	if out := must(t, "certs"); !strings.Contains(out, "certs issue") {
		t.Errorf("no example in\n%s", out)
	}
}

func TestBadUsageIsStatus2AndSaysWhatToDo(t *testing.T) {
	for _, test := range []struct {
		args string
		want string
	}{
		{"bogus", `there is no command "bogus"`},
		{"stats", `did you mean "status"?`},
		{"help bogus", `there is no command "bogus"`},
		{"certs bogus", `there is no command "certs bogus"`},
		{"certs isue", `did you mean "issue"?`},
		{"--bogus", "--bogus"},
		{"get", "COLLECTION and ID is missing"},
		{"get carts", "ID is missing"},
		{"get carts c1 c2", `unexpected argument "c2"`},
		{"get carts c1 --bogus", "--bogus"},
		{"get carts c1 --addr ftp://x", "is no address of a region"},
		{"version x", `"x"`},
		{"put carts c1 nofile.json", "there is no file nofile.json"},
		{"put carts c1", "there is nothing in -"},
		{"put carts c1 {} --if-match \"x", "is no ETag"},
		{"patch carts c1 {} --ops --merge", "give one of --merge and --ops"},
		{"list carts --limit -1", "--limit"},
		{"conflicts list --limit -1", "--limit"},
		{"conflicts show", "ID is missing"},
		{"conflicts preview x", "POLICY is missing"},
		{"conflicts preview x lww --last 0", "--last"},
		{"conflicts restore x", "VERSION is missing"},
		{"conflicts bogus", `there is no command "conflicts bogus"`},
		{"status --probe well", "choose ready or live"},
		{"status --wait 1s", "--wait goes with --probe"},
		{"certs init --cluster UPPER", "--cluster"},
		{"certs init --days 0", "--days"},
		{"certs issue", "--region is missing"},
		{"certs ensure", "--region is missing"},
		{"certs ensure --region UPPER", "--region"},
		{"certs issue --region ..", "--region"},
		{"certs issue --region ca", "ca"},
		{"serve", "MERIDIAN_REGION"},
		{"serve --region us-east", "--data is missing"},
		{"serve --region US --data d", "US"},
		{"serve --region a --data d --topology blob", "mesh, ring or star"},
		{"serve --region a --data d --topology star", "hub"},
		{"serve --region a --data d --hub a", "hub"},
		{"serve --region a --data d --peers a=h:1", "include itself"},
		{"serve --region a --data d --peers b", "NAME=HOST:PORT"},
		{"serve --region a --data d --peers b=h:1,b=h:2", "named twice"},
		{"serve --region a --data d --http nowhere", "HOST:PORT"},
		{"serve --region a --data d --log-level loud", "choose debug"},
		{"serve --region a --data d --log-format xml", "choose text or json"},
		{"serve --region a --data d --config nofile.yaml", "there is no configuration file nofile.yaml"},
		{"serve --region a --data d --conflict-log-age 0s", "--conflict-log-age"},
		{"bench --workload Z", "choose one of A, B"},
		{"bench --addr 127.0.0.1:1 --regions 3", "--regions is for a local cluster"},
		{"bench --clients -1", "clients must be"},
		{"bench --compare nofile.json", "--compare"},
		{"import", "FILE is missing"},
		{"import -", "--collection is missing"},
		{"import nofile --collection c", "there is no file nofile"},
		{"import . --collection c", "is a folder"},
		{"import - --collection c --batch 0", "--batch must be 1 to"},
		{"import - --collection c --existing maybe", "replace or skip"},
		{"import - --collection c --id-field x --generate-ids", "give one of --id-field and --generate-ids"},
		{"export", "--collection is missing"},
	} {
		t.Run(test.args, func(t *testing.T) {
			mustFail(t, StatusUsage, strings.Fields(test.args), "meridian: ", test.want, "--help")
		})
	}
}

func TestVersion(t *testing.T) {
	if out := must(t, "version"); !strings.HasPrefix(out, "meridian ") {
		t.Error(out)
	}
	if b := decode[buildInfo](t, must(t, "version", "--json")); b.Version == "" || b.Go == "" {
		t.Errorf("%+v", b)
	}
}
