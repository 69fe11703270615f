package cmd

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/meridiandb/meridian/cmd/node"
)

// settingsOf runs the command line of serve up to its settings.
func settingsOf(t *testing.T, file string, args ...string) (*serveFlags, node.Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	var (
		cfg node.Config
		f   = &serveFlags{logFormat: logText}
	)
	c := &cobra.Command{Use: "serve", SilenceErrors: true, SilenceUsage: true}
	f.bind(c.Flags())
	c.Flags().VisitAll(func(fl *pflag.Flag) { markSettings(c, fl.Name) })
	addConfigFlag(c)
	c.SetArgs(append([]string{}, args...))
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		cfg, err = f.config(c)
		return err
	}
	err := c.Execute()
	return f, cfg, err
}

func TestFlagBeforeEnvironmentBeforeFileBeforeDefault(t *testing.T) {
	const file = "region: file\ndata: file\nhttp: file:1\ncluster: file\n"
	t.Setenv("MERIDIAN_DATA", "env")
	t.Setenv("MERIDIAN_HTTP", "env:1")
	t.Setenv("MERIDIAN_TLS_DIR", "")
	_, cfg, err := settingsOf(t, file, "--http", "flag:1")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.HTTP, cfg.Data, cfg.Region, cfg.Cluster, cfg.PeerListen, cfg.TLSDir}
	want := []string{"flag:1", "env", "file", "file", node.DefaultPeerListen, "certs"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// every sets all settings of serve in one way of writing them.
const everyYAML = `region: us-east
data: /data
http: 0.0.0.0:80
peer-listen: 0.0.0.0:74
peers:
  eu-west: eu:74
  ap-south: ap:74
topology: star
hub: eu-west
deputies: [us-east, ap-south]
cluster: shop
tls-dir: /certs
strict-collections: true
conflict-log-records: 1000
conflict-log-bytes: 1000000
conflict-log-age: 24h
trusted-origins: [https://app.example, "http://localhost:3000"]
log-keep: 500
log-keep-age: 1h
scrub-every: 6h
catch-up-rate: 1000000
otlp-endpoint: http://127.0.0.1:4318
trace-sample: 0.5
fault-injection: true
drain: 3s
log-format: json
log-level: debug
`

func TestEachSettingAsFlagVariableAndKey(t *testing.T) {
	flags := map[string]string{
		"region": "us-east", "data": "/data", "http": "0.0.0.0:80", "peer-listen": "0.0.0.0:74",
		"peers": "eu-west=eu:74,ap-south=ap:74", "topology": "star", "hub": "eu-west",
		"deputies": "us-east,ap-south", "cluster": "shop", "tls-dir": "/certs", "strict-collections": "true",
		"conflict-log-records": "1000", "conflict-log-bytes": "1000000", "conflict-log-age": "24h",
		"trusted-origins": "https://app.example,http://localhost:3000",
		"log-keep":        "500", "log-keep-age": "1h", "catch-up-rate": "1000000", "scrub-every": "6h",
		"otlp-endpoint": "http://127.0.0.1:4318", "trace-sample": "0.5",
		"fault-injection": "true", "drain": "3s", "log-format": "json", "log-level": "debug",
	}
	newServe(&app{}).Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := flags[f.Name]; !ok && f.Name != configFlag && f.Name != "help" {
			t.Errorf("this test lacks --%s", f.Name)
		}
	})
	args := make([]string, 0, len(flags))
	for name, v := range flags {
		args = append(args, "--"+name+"="+v)
	}
	_, want, err := settingsOf(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	if want.Peers["ap-south"] != "ap:74" || want.Topology.Hub != "eu-west" || !want.FaultInjection {
		t.Errorf("flags were not taken: %+v", want)
	}
	f, fromFile, err := settingsOf(t, everyYAML)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, fromFile); diff != "" {
		t.Errorf("the file makes something else than the flags:\n%s", diff)
	}
	if f.logFormat != logJSON || f.logLevel.Level != slog.LevelDebug {
		t.Errorf("log settings %v %v", f.logFormat, f.logLevel)
	}
	for name, v := range flags {
		t.Setenv(envName(name), v)
	}
	_, fromEnv, err := settingsOf(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, fromEnv); diff != "" {
		t.Errorf("the environment makes something else than the flags:\n%s", diff)
	}
}

func TestConfigurationFileIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"unknown key":    {"region: a\ndata: d\nhtpp: x:1\n", `config.yaml:3: there is no setting "htpp"; there are`},
		"misspelt key":   {"region: a\npeer_listen: x:1\n", `config.yaml:2: there is no setting "peer_listen"; did you mean "peer-listen"?`},
		"file in a file": {"config: b.yaml\n", `there is no setting "config"`},
		"bad value":      {"region: a\nfault-injection: perhaps\n", "config.yaml:2: fault-injection"},
		"bad peer":       {"peers:\n  b: nowhere\n", "NAME=HOST:PORT"},
		"too deep":       {"peers:\n  b:\n    c: d\n", "line 1: peers: expected"},
		"list in a list": {"deputies: [[a]]\n", "line 1: deputies: expected"},
		"twice":          {"region: a\nregion: b\n", "region"},
		"not a mapping":  {"- a\n- b\n", "config.yaml"},
		"not YAML":       {"region: [a\n", "config.yaml"},
		"too large":      {strings.Repeat("# x\n", maxConfigBytes/4+1), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(test.file), 0o644); err != nil {
				t.Fatal(err)
			}
			mustFail(t, StatusUsage, []string{"serve", "--config", path}, test.want)
		})
	}
}

func TestBadVariableIsNamed(t *testing.T) {
	t.Setenv("MERIDIAN_TOPOLOGY", "ring")
	t.Setenv("MERIDIAN_PEERS", "nonsense")
	mustFail(t, StatusUsage, []string{"serve", "--region", "a", "--data", "d"}, `MERIDIAN_PEERS="nonsense"`, "NAME=HOST:PORT")
	t.Setenv("MERIDIAN_PEERS", "")
	t.Setenv(envName(addrFlag), "ftp://x")
	mustFail(t, StatusUsage, []string{"status"}, `"ftp://x"`)
}

func TestLogFormats(t *testing.T) {
	var b bytes.Buffer
	newLogger(&b, logJSON, slog.LevelWarn).Info("no")
	newLogger(&b, logJSON, slog.LevelWarn).Warn("yes", "n", 1)
	if m := decode[map[string]any](t, b.String()); m["msg"] != "yes" {
		t.Errorf("%v", m)
	}
	b.Reset()
	newLogger(&b, logText, slog.LevelDebug).Debug("yes", "n", 1)
	if !strings.Contains(b.String(), "msg=yes n=1") {
		t.Error(b.String())
	}
}
