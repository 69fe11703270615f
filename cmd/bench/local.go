package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/certs"
)

// regionNames are those of a local cluster, in this order.
var regionNames = [MaxRegions]string{
	"us-east", "eu-west", "ap-south", "sa-east", "af-south", "us-west", "eu-north", "ap-east", "me-central",
}

const (
	localCluster = "bench"
	loopback     = "127.0.0.1"
	// readyWithin is how long a region may take to be ready, stopWithin to end.
	readyWithin = 60 * time.Second
	stopWithin  = 20 * time.Second
	folderMode  = 0o755
)

// A local cluster is one process for each region.
type local struct {
	dir    string
	remove bool
	procs  []*process
}

type process struct {
	region string
	url    string
	cmd    *exec.Cmd
	log    *tail
}

// startLocal starts a cluster and waits until all of it takes writes.
func startLocal(ctx context.Context, cfg *Config) (l *local, err error) {
	l = &local{dir: cfg.Data}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.stop())
		}
	}()
	if l.dir == "" {
		if l.dir, err = os.MkdirTemp("", "meridian-bench-"); err != nil {
			return l, fmt.Errorf("temporary folder: %w", err)
		}
		l.remove = true
	} else if err := os.MkdirAll(l.dir, folderMode); err != nil {
		return l, fmt.Errorf("data folder: %w", err)
	}
	tls, err := l.certificates(cfg.Regions)
	if err != nil {
		return l, err
	}
	peers, err := freePorts(cfg.Regions)
	if err != nil {
		return l, err
	}
	ready := make(chan error, cfg.Regions)
	for i, name := range regionNames[:cfg.Regions] {
		p := &process{region: name, log: &tail{also: cfg.Log}}
		p.cmd = exec.CommandContext(ctx, cfg.Program, l.args(cfg, i, tls, peers)...)
		p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
		p.cmd.WaitDelay = stopWithin
		p.cmd.Stderr = p.log
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return l, err
		}
		if err := p.cmd.Start(); err != nil {
			return l, fmt.Errorf("start %s: %w", name, err)
		}
		l.procs = append(l.procs, p)
		go func() { ready <- p.awaitReady(out) }()
	}
	patience, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for range l.procs {
		select {
		case err := <-ready:
			if err != nil {
				return l, err
			}
		case <-patience.Done():
			return l, fmt.Errorf("the local cluster is not ready after %v: %w", readyWithin, patience.Err())
		}
	}
	return l, nil
}

func (l *local) certificates(regions int) (dir string, err error) {
	dir = filepath.Join(l.dir, "certs")
	if _, err := os.Stat(filepath.Join(dir, certs.AuthorityCert)); err != nil {
		if err := certs.InitAuthority(dir, localCluster, certs.Validity{}); err != nil {
			return dir, err
		}
	}
	for _, name := range regionNames[:regions] {
		if _, err := os.Stat(filepath.Join(dir, name+".crt")); err == nil {
			continue
		}
		if err := certs.Issue(dir, name, nil, certs.Validity{}); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

// freePorts finds UDP ports that are free now.
func freePorts(n int) (addrs []string, err error) {
	var held []net.PacketConn
	defer func() {
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	for range n {
		c, err := net.ListenPacket("udp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return nil, err
		}
		held = append(held, c)
		addrs = append(addrs, c.LocalAddr().String())
	}
	return addrs, nil
}

func (l *local) args(cfg *Config, i int, tls string, peers []string) []string {
	var others []string
	for j, addr := range peers {
		if j != i {
			others = append(others, regionNames[j]+"="+addr)
		}
	}
	args := []string{
		"serve", "--region", regionNames[i], "--cluster", localCluster, "--data", filepath.Join(l.dir, regionNames[i]),
		"--tls-dir", tls, "--http", net.JoinHostPort(loopback, "0"), "--peer-listen", peers[i], "--topology", cfg.Topology,
		"--log-level", "warn",
	}
	if len(others) > 0 {
		args = append(args, "--peers", strings.Join(others, ","))
	}
	if cfg.Topology == string(topology.Star) {
		args = append(args, "--hub", regionNames[0])
	}
	return args
}

var readyLine = regexp.MustCompile(`is ready: (http://\S+)`)

// awaitReady reads what the process says until it says where it serves. What
// comes after that is thrown away.
func (p *process) awaitReady(out io.Reader) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			p.url = m[1]
			go func() { _, _ = io.Copy(io.Discard, out) }() // until the process ends
			return nil
		}
	}
	return fmt.Errorf("%s has ended before it was ready:\n%s", p.region, p.log)
}

func (l *local) urls() []string {
	urls := make([]string, len(l.procs))
	for i, p := range l.procs {
		urls[i] = p.url
	}
	return urls
}

// stop ends the processes and removes what is to be removed.
func (l *local) stop() error {
	var errs []error
	for _, p := range l.procs {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	}
	for _, p := range l.procs {
		if err := p.cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w\n%s", p.region, err, p.log))
		}
	}
	if l.remove {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// A tail keeps the end of what is written to it.
type tail struct {
	also io.Writer

	mu  sync.Mutex
	buf []byte
}

const maxTail = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	if t.also != nil {
		_, _ = t.also.Write(p) // the log is a courtesy
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
