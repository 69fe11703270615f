package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/cmd/node"
	"github.com/meridiandb/meridian/deploy/examples/notes"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/certs"
)

const (
	loopback    = "127.0.0.1"
	clusterName = "demo"
	logFile     = "regions.log"
	folderMode  = 0o755
	logMode     = 0o644
	// drain is how long requests may take at the end: there is nobody but the
	// person who has just pressed Ctrl-C.
	drain = time.Second
)

// storeOptions make stores small: a demo holds a few documents, and up to nine
// stores share a machine.
var storeOptions = badgerstore.Options{
	MemTableBytes:   badgerstore.MinMemTableBytes,
	BlockCacheBytes: 8 << 20,
	IndexCacheBytes: 8 << 20,
}

// A cluster is the regions, which run in this process and talk to each other as
// if they did not.
type cluster struct {
	nodes []*node.Node
	names []string
	data  string
	temp  bool // data is ours to remove
	log   *os.File

	cancel context.CancelFunc
	group  *errgroup.Group
	failed context.Context // ends when a region stops by itself
	fail   context.CancelCauseFunc
}

// start brings up the regions. They may take no writes yet.
func start(ctx context.Context, cfg *Config) (_ *cluster, err error) {
	c := &cluster{data: cfg.Data, names: names[:cfg.Regions], cancel: func() {}, group: &errgroup.Group{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	// The ports come first: if they are taken nothing has been touched.
	s, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.openFolder(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := c.openNodes(cfg, s); err != nil {
		return nil, err
	}
	c.run(ctx)
	return c, nil
}

// sockets are what the regions listen on, by their order.
type sockets struct {
	http  []net.Listener
	peers []net.PacketConn
}

func (s *sockets) close() error {
	var errs []error
	for _, l := range s.http {
		errs = append(errs, l.Close())
	}
	for _, p := range s.peers {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// listen takes all the ports. Those for peers are whatever is free.
func listen(cfg *Config) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for i := range cfg.Regions {
		port := 0
		if cfg.HTTPBase > 0 {
			port = cfg.HTTPBase + i
		}
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			return nil, &PortError{Port: port, Region: names[i], Err: cause(err)}
		}
		s.http = append(s.http, l)
		p, err := net.ListenPacket("udp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return nil, fmt.Errorf("listen for the peers of %s: %w", names[i], err)
		}
		s.peers = append(s.peers, p)
	}
	return s, nil
}

// cause is what the system said, without what the net package says around it.
func cause(err error) error {
	if sys := (*os.SyscallError)(nil); errors.As(err, &sys) {
		return sys.Err
	}
	return err
}

func (c *cluster) openFolder() (err error) {
	if c.data == "" {
		if c.data, err = os.MkdirTemp("", "meridian-demo-"); err != nil {
			return fmt.Errorf("temporary folder: %w", err)
		}
		c.temp = true
	} else if err := os.MkdirAll(c.data, folderMode); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if c.log, err = os.OpenFile(c.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, logMode); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	return nil
}

func (c *cluster) logPath() string { return filepath.Join(c.data, logFile) }

// folder is where a region has its store.
func (c *cluster) folder(region int) string { return filepath.Join(c.data, c.names[region]) }

// shape is the topology of the demo. The first region is the hub of a star.
func shape(kind topology.Kind, names []string) topology.Spec {
	s := topology.Spec{Kind: kind}
	if kind == topology.Star {
		s.Hub = names[0]
	}
	return s
}

// openNodes opens all regions at once; most of it is waiting for the disk. The
// sockets are theirs then.
func (c *cluster) openNodes(cfg *Config, s *sockets) error {
	authority, err := certs.NewAuthority(clusterName, certs.Validity{})
	if err != nil {
		return errors.Join(err, s.close())
	}
	var to io.Writer = c.log
	if cfg.Log != nil {
		to = io.MultiWriter(c.log, cfg.Log)
	}
	logger := slog.New(slog.NewTextHandler(to, nil))
	var origins []string // a page of one region speaks with others
	for _, l := range s.http {
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return errors.Join(err, s.close())
		}
		origins = append(origins, "http://"+net.JoinHostPort(loopback, port), "http://localhost:"+port)
	}
	c.nodes = make([]*node.Node, len(c.names))
	var g errgroup.Group
	for i, name := range c.names {
		peers := map[string]string{}
		for j, peer := range c.names {
			if j != i {
				peers[peer] = s.peers[j].LocalAddr().String()
			}
		}
		g.Go(func() error {
			credentials, err := authority.Issue(name)
			if err != nil {
				return errors.Join(err, s.http[i].Close(), s.peers[i].Close())
			}
			n, err := node.New(node.Config{
				Region: name, Cluster: clusterName, Data: c.folder(i),
				HTTPListener: s.http[i], PeerConn: s.peers[i], Peers: peers,
				Topology: shape(cfg.Topology, c.names), FaultInjection: true,
				Credentials: credentials, Drain: drain, Store: storeOptions,
				Pages: map[string]fs.FS{notesPath: notes.Files()}, TrustedOrigins: origins,
				Logger: logger.With("node", name),
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.nodes[i] = n
			return nil
		})
	}
	return g.Wait()
}

// run lets the regions serve until stop.
func (c *cluster) run(ctx context.Context) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.failed, c.fail = context.WithCancelCause(context.WithoutCancel(ctx))
	for i, n := range c.nodes {
		c.group.Go(func() error {
			err := n.Run(running)
			if running.Err() == nil {
				err = fmt.Errorf("%s stopped: %w", c.names[i], or(err, errStopped))
				c.fail(err)
			}
			return err
		})
	}
}

var errStopped = errors.New("for no reason that it gave")

func or(err, ifNil error) error {
	if err == nil {
		return ifNil
	}
	return err
}

// urls are where the regions' APIs are.
func (c *cluster) urls() []string {
	out := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		out[i] = n.URL()
	}
	return out
}

// stop ends the regions and removes what is to be removed. It returns what went
// wrong in ending them.
func (c *cluster) stop() error {
	var errs []error
	c.cancel()
	if c.failed == nil { // they never ran
		for _, n := range c.nodes {
			if n != nil {
				errs = append(errs, n.Close())
			}
		}
	}
	errs = append(errs, c.group.Wait())
	if c.fail != nil {
		c.fail(nil)
	}
	if c.log != nil {
		errs = append(errs, c.log.Close())
	}
	if c.temp {
		errs = append(errs, os.RemoveAll(c.data))
	}
	return errors.Join(errs...)
}
