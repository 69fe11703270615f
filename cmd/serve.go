package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/cmd/node"
	"github.com/meridiandb/meridian/cmd/tune"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/certs"
)

const serveLong = `Run one region: its store, its links with the other regions, and its HTTP API.

Each flag can also be given as a variable of the environment (--peer-listen is
MERIDIAN_PEER_LISTEN) and as a key of the YAML file that --config names (peer-listen:).
A flag goes before a variable, a variable before the file. Paths are relative to the
folder in which the command is run.

The regions of a cluster know each other by certificates: "meridian certs" makes them.
Give the first regions the same --cluster, --topology, --hub and --deputies, and in
--peers all the others. One that "meridian region add" adds later needs --cluster and the
address of any one member in --peers; it learns the rest.

When the region takes requests, one line on standard output says where. The log goes to
standard error. SIGINT or SIGTERM ends it: requests that are under way may finish.`

const serveExample = `  # A cluster of one
  meridian certs init --dir certs --cluster shop
  meridian certs issue --dir certs --region us-east
  meridian serve --region us-east --cluster shop --data data/us-east --tls-dir certs

  # One of two on the same machine
  meridian serve --region us-east --cluster shop --data data/us-east --tls-dir certs \
    --peers eu-west=127.0.0.1:7401
  meridian serve --region eu-west --cluster shop --data data/eu-west --tls-dir certs \
    --http 127.0.0.1:8081 --peer-listen 127.0.0.1:7401 --peers us-east=127.0.0.1:7400

  # A spoke of a star, from a file
  cat > eu.yaml <<END
  region: eu-west
  cluster: shop
  data: /var/lib/meridian
  tls-dir: /etc/meridian/certs
  http: 0.0.0.0:8080
  peer-listen: 0.0.0.0:7400
  peers:
    us-east: us.example.com:7400
    ap-south: ap.example.com:7400
  topology: star
  hub: us-east
  deputies: [ap-south]
  END
  meridian serve --config eu.yaml`

// serveFlags are the flags of serve that are not fields of the node's configuration.
type serveFlags struct {
	node.Config
	topology  string
	logFormat logFormat
	logLevel  logLevel
}

func newServe(a *app) *cobra.Command {
	f := &serveFlags{logFormat: logText, logLevel: logLevel{slog.LevelInfo}}
	c := &cobra.Command{
		Use:     "serve --region NAME --data DIR [flags]",
		Short:   "Run one region",
		Long:    serveLong,
		Example: serveExample,
		GroupID: groupServe,
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.config(c)
			if err != nil {
				return err
			}
			built := readBuild()
			cfg.Build = node.Build{Version: built.Version, Revision: built.Revision}
			cfg.Logger = newLogger(a.err, f.logFormat, f.logLevel.Level)
			return a.serve(c.Context(), c, cfg)
		},
	}
	f.bind(c.Flags())
	c.Flags().VisitAll(func(fl *pflag.Flag) { markSettings(c, fl.Name) })
	addConfigFlag(c)
	c.Flags().SortFlags = false
	return c
}

func (f *serveFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.Region, "region", "", "the region's `name`, such as us-east (needed)")
	fs.StringVar(&f.Data, "data", "", "the `folder` of its store; it is made if it is not there (needed)")
	fs.StringVar(&f.HTTP, "http", node.DefaultHTTP, "the TCP `address` for clients; port 0 takes a free one")
	fs.StringVar(&f.PeerListen, "peer-listen", node.DefaultPeerListen, "the UDP `address` for the other regions; port 0 takes a free one")
	fs.Var(&peersValue{&f.Peers}, "peers", "the other `regions` and where they listen for peers: NAME=HOST:PORT,…; of a region that was added, any one")
	fs.StringVar(&f.topology, "topology", string(topology.Mesh), "the `shape` of the links, until \"meridian topology\" changes it: mesh, ring or star")
	fs.StringVar(&f.Topology.Hub, "hub", "", "the `region` in the middle of a star")
	fs.StringSliceVar(&f.Topology.Deputies, "deputies", nil, "the `regions` that take the place of a star's hub, in this order")
	fs.StringVar(&f.Cluster, "cluster", "meridian", "the cluster's `name`, as in the certificates")
	fs.StringVar(&f.TLSDir, "tls-dir", "certs", "the `folder` with ca.crt, and NAME.crt and NAME.key of this region")
	fs.BoolVar(&f.StrictCollections, "strict-collections", false, "refuse writes to collections that nobody has made by PUT /v1/collections/NAME")
	fs.IntVar(&f.ConflictLog.Records, "conflict-log-records", conflictlog.DefaultRecords, "how many conflicts the region's log keeps")
	fs.Int64Var(&f.ConflictLog.Bytes, "conflict-log-bytes", conflictlog.DefaultBytes, "how many bytes of them")
	fs.DurationVar(&f.ConflictLog.Age, "conflict-log-age", conflictlog.DefaultAge, "how long it keeps those that are settled")
	fs.DurationVar(&f.ScrubEvery, "scrub-every", core.DefaultScrub, "how long after a check of all stored documents for damage the next begins")
	fs.StringSliceVar(&f.TrustedOrigins, "trusted-origins", nil, "the `origins` whose pages may write and sync here, such as https://app.example; the region's own always may")
	fs.Uint64Var(&f.Retention.Changes, "log-keep", core.DefaultRetentionChanges, "how many of the last changes of each region its log keeps although nobody needs them any more")
	fs.DurationVar(&f.Retention.Age, "log-keep-age", 0, "how long it keeps changes at least")
	fs.Int64Var(&f.CatchUpRate, "catch-up-rate", region.DefaultCatchUpRate, "the bytes a second with which regions that are behind are served, together; -1 for no bound")
	fs.BoolVar(&f.FaultInjection, "fault-injection", false, "let clients cut and delay links by PUT /v1/faults/links/REGION and shift the clock by PUT /v1/faults/clock; for tests only")
	fs.StringVar(&f.Tracing.Endpoint, "otlp-endpoint", "", "the `URL` of an OTLP receiver for traces, such as http://127.0.0.1:4318; none are made without it")
	fs.Float64Var(&f.Tracing.Sample, "trace-sample", node.DefaultTraceSample, "the `share` of requests that are traced, 0 to 1, besides those that bring a sampled trace along")
	fs.DurationVar(&f.Drain, "drain", node.DefaultDrain, "how long requests may take to finish at the end")
	fs.Var(&f.logFormat, "log-format", "how the log is written: text or json")
	fs.Var(&f.logLevel, "log-level", "the least level that is logged: debug, info, warn or error")
}

// config completes and checks the settings.
func (f *serveFlags) config(c *cobra.Command) (cfg node.Config, err error) {
	if err := loadSettings(c); err != nil {
		return cfg, err
	}
	cfg = f.Config
	for _, needed := range []struct{ flag, value string }{{"region", cfg.Region}, {"data", cfg.Data}} {
		if needed.value == "" {
			return cfg, usagef(c, "--%s is missing (or %s, or %q in the file named by --config)", needed.flag, envName(needed.flag), needed.flag)
		}
	}
	if cfg.Topology.Kind, err = topology.ParseKind(f.topology); err != nil {
		return cfg, usageError{c, err}
	}
	if cfg.ScrubEvery <= 0 {
		return cfg, usagef(c, "--scrub-every must be more than 0")
	}
	if l := cfg.ConflictLog; l.Records <= 0 || l.Bytes <= 0 || l.Age <= 0 {
		return cfg, usagef(c, "--conflict-log-records, --conflict-log-bytes and --conflict-log-age must be more than 0")
	}
	if r := cfg.Retention; r.Changes < 1 || r.Age < 0 || cfg.CatchUpRate == 0 {
		return cfg, usagef(c, "--log-keep must be 1 or more, --log-keep-age not negative, --catch-up-rate not 0")
	}
	if cfg.Drain <= 0 {
		return cfg, usagef(c, "--drain must be more than 0")
	}
	if err := cfg.Tracing.Validate(); err != nil {
		return cfg, usageError{c, err}
	}
	for flag, addr := range map[string]string{"http": cfg.HTTP, "peer-listen": cfg.PeerListen} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return cfg, usagef(c, "--%s %q is no address: write HOST:PORT, such as 127.0.0.1:8080", flag, addr)
		}
	}
	// The region's own check is the one that counts; here it makes a wrong name
	// bad usage.
	check := region.Config{Region: cfg.Region, Cluster: cfg.Cluster, Peers: cfg.Peers, Topology: cfg.Topology}
	if err := check.Validate(); err != nil {
		return cfg, usageError{c, err}
	}
	return cfg, nil
}

// A peersValue is a flag of regions and their addresses.
type peersValue struct{ peers *map[string]string }

// Set adds to what there is, so that the flag can be given several times.
func (v *peersValue) Set(s string) error {
	next := maps.Clone(*v.peers)
	if next == nil {
		next = map[string]string{}
	}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, addr, ok := strings.Cut(part, "=")
		name, addr = strings.TrimSpace(name), strings.TrimSpace(addr)
		host, port, err := net.SplitHostPort(addr)
		switch {
		case !ok || err != nil || host == "" || port == "":
			return fmt.Errorf("%q is no peer: write NAME=HOST:PORT, such as eu-west=10.0.0.2:7400", part)
		case next[name] != "":
			return fmt.Errorf("region %q is named twice", name)
		}
		if err := region.CheckName(name); err != nil {
			return err
		}
		next[name] = addr
	}
	*v.peers = next
	return nil
}

func (v *peersValue) String() string {
	if v.peers == nil {
		return ""
	}
	parts := make([]string, 0, len(*v.peers))
	for _, name := range slices.Sorted(maps.Keys(*v.peers)) {
		parts = append(parts, name+"="+(*v.peers)[name])
	}
	return strings.Join(parts, ",")
}

func (*peersValue) Type() string { return "peers" }

// waitNotice is after how long a region that takes no writes yet says so.
const waitNotice = 3 * time.Second

// serve runs a region until ctx ends.
func (a *app) serve(ctx context.Context, c *cobra.Command, cfg node.Config) error {
	tune.Start(cfg.Logger)
	n, err := node.New(cfg)
	if errors.Is(err, node.ErrConfig) {
		return usageError{c, err}
	}
	if errors.Is(err, certs.ErrMissing) {
		return advise(err, "The regions of a cluster know each other by certificates. To make them:\n"+
			"  meridian certs init --dir %[1]s --cluster %[2]s      (once for the cluster)\n"+
			"  meridian certs issue --dir %[1]s --region %[3]s", cfg.TLSDir, cfg.Cluster, cfg.Region)
	}
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	running, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		defer cancel()
		return n.Run(ctx)
	})
	g.Go(func() error {
		a.announce(running, n, cfg)
		return nil
	})
	g.Go(func() error {
		tune.Run(running)
		return nil
	})
	return g.Wait()
}

// announce says where the region is reached, once it is. Scripts wait for the line.
func (a *app) announce(ctx context.Context, n *node.Node, cfg node.Config) {
	notice, cancel := context.WithTimeout(ctx, waitNotice)
	defer cancel()
	err := n.AwaitReady(notice)
	if err != nil && ctx.Err() == nil {
		cfg.Logger.Warn("the region takes no writes yet", "reason", err, "http", n.URL(), "peers", n.PeerAddr())
		err = n.AwaitReady(ctx)
	}
	if err == nil {
		fmt.Fprintf(a.out, "%s is ready: %s (peers: %s)\n", cfg.Region, n.URL(), n.PeerAddr())
	}
}
