package netns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/meridiandb/meridian/e2e/relay"
)

// ErrUnavailable is why there can be no namespaces here.
var ErrUnavailable = errors.New("network namespaces cannot be made")

// ErrCondition is returned for conditions that nftables cannot make.
var ErrCondition = errors.New("nftables cannot make this condition")

// The addresses of the regions, which exist in these namespaces only.
const (
	subnet     = "10.203.0.0/24"
	address    = "10.203.0.%d"
	maxRegions = 250
)

// networks counts those of this process, for names that no other has.
var networks atomic.Int32

// A Network has a namespace for each region, and one for the bridge between them.
// Its methods may be called by any goroutine.
type Network struct {
	prefix string
	nft    string

	mu     sync.Mutex
	spaces map[string]*space
	order  []*space
}

// A space is the namespace of a region.
type space struct {
	name, ip string
	from     map[string]relay.Conditions // by the address of who sends
}

// New makes a network without regions. The error wraps ErrUnavailable if this
// machine does not allow for any.
func New() (*Network, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: only root can make them", ErrUnavailable)
	}
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil, fmt.Errorf("%w: %w (Debian: apt-get install nftables)", ErrUnavailable, err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("%w: %w (Debian: apt-get install iproute2)", ErrUnavailable, err)
	}
	n := &Network{prefix: fmt.Sprintf("mrd%d-%d", os.Getpid(), networks.Add(1)), nft: nft, spaces: map[string]*space{}}
	hub := n.hub()
	if err := ip("netns", "add", hub); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := errors.Join(
		ip("-n", hub, "link", "add", "bridge", "type", "bridge"),
		ip("-n", hub, "link", "set", "bridge", "up"),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), n.Close())
	}
	return n, nil
}

func (n *Network) hub() string { return n.prefix + "-hub" }

// Add makes the namespace of a region, and returns the address that the others
// reach it at.
func (n *Network) Add(region string) (addr string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := len(n.order) + 1
	if number > maxRegions {
		return "", fmt.Errorf("a network has at most %d regions", maxRegions)
	}
	s := &space{name: fmt.Sprintf("%s-%d", n.prefix, number), ip: fmt.Sprintf(address, number), from: map[string]relay.Conditions{}}
	port := fmt.Sprintf("port%d", number)
	if err := ip("netns", "add", s.name); err != nil {
		return "", err
	}
	n.order = append(n.order, s)
	n.spaces[region] = s
	for _, args := range [][]string{
		{"-n", n.hub(), "link", "add", port, "type", "veth", "peer", "name", "wan", "netns", s.name},
		{"-n", n.hub(), "link", "set", port, "master", "bridge", "up"},
		{"-n", s.name, "addr", "add", s.ip + "/24", "dev", "wan"},
		{"-n", s.name, "link", "set", "wan", "up"},
		{"-n", s.name, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			return "", err
		}
	}
	return s.ip, n.rules(s, `
		table inet meridian {
			counter dropped {}
			counter passed {}
			chain in { type filter hook input priority 0; policy accept; }
		}`)
}

// Command is what comes before a program and its arguments, to run it in the
// namespace of a region.
func (n *Network) Command(region string) []string {
	return []string{"ip", "netns", "exec", n.space(region).name}
}

func (n *Network) space(region string) *space {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spaces[region]
}

// DialContext connects to a numeric TCP address as it is in the namespace of a
// region, such as one on its loopback.
func (n *Network) DialContext(ctx context.Context, region, addr string) (net.Conn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		conn, err := dialIn(ctx, n.space(region).name, addr)
		done <- dialed{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}

// dialIn connects with this goroutine's thread moved into a namespace. The thread
// is moved back and not left to end, because processes that it has started and that
// are to die with their parent would end with it. A goroutine that cannot move its
// thread back has to end, and the thread with it.
func dialIn(ctx context.Context, name, addr string) (conn net.Conn, err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	if err := enter("/run/netns/" + name); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return conn, errors.Join(err, fmt.Errorf("leave the namespace %s: %w", name, back))
	}
	runtime.UnlockOSThread()
	return conn, err
}

// enter moves this thread into a namespace.
func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace %s: %w", path, err)
	}
	return nil
}

// Set sets the conditions of what goes from one region to another. The error wraps
// ErrCondition if they are more than Cut and Drop.
func (n *Network) Set(from, to string, c relay.Conditions) error {
	if !Can(c) {
		return fmt.Errorf("%w: %+v", ErrCondition, c)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.spaces[to]
	s.from[n.spaces[from].ip] = c
	return n.apply(s)
}

// Can reports whether conditions can be set.
func Can(c relay.Conditions) bool {
	return c == relay.Conditions{Cut: c.Cut, Drop: c.Drop}
}

// Heal takes all conditions from all paths.
func (n *Network) Heal() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, s := range n.order {
		clear(s.from)
		errs = append(errs, n.apply(s))
	}
	return errors.Join(errs...)
}

// apply replaces the rules of a region, all at once.
func (n *Network) apply(s *space) error {
	const of = 1000
	var b strings.Builder
	b.WriteString("flush chain inet meridian in\n")
	for from, c := range s.from {
		switch {
		case c.Cut:
			fmt.Fprintf(&b, "add rule inet meridian in ip saddr %s counter name dropped drop\n", from)
		case c.Drop > 0:
			fmt.Fprintf(&b, "add rule inet meridian in ip saddr %s numgen random mod %d < %d counter name dropped drop\n", from, of, int(c.Drop*of))
		}
	}
	fmt.Fprintf(&b, "add rule inet meridian in ip saddr %s counter name passed\n", subnet)
	return n.rules(s, b.String())
}

func (n *Network) rules(s *space, rules string) error {
	_, err := run(rules, "ip", "netns", "exec", s.name, n.nft, "-f", "-")
	return err
}

// Total says how many packets passed, and how many did not.
func (n *Network) Total() (t relay.Counts, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.order {
		out, err := run("", "ip", "netns", "exec", s.name, n.nft, "-j", "list", "counters")
		if err != nil {
			return t, err
		}
		var list struct {
			Nftables []struct {
				Counter struct {
					Name    string
					Packets int
				}
			}
		}
		if err := json.Unmarshal(out, &list); err != nil {
			return t, fmt.Errorf("counters of %s: %w", s.name, err)
		}
		for _, entry := range list.Nftables {
			switch entry.Counter.Name {
			case "passed":
				t.Delivered += entry.Counter.Packets
			case "dropped":
				t.Dropped += entry.Counter.Packets
			}
		}
	}
	return t, nil
}

// Close takes everything down. What runs in the namespaces must have ended.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, s := range n.order {
		errs = append(errs, ip("netns", "del", s.name))
	}
	n.order = nil
	return errors.Join(append(errs, ip("netns", "del", n.hub()))...)
}

func ip(args ...string) error {
	_, err := run("", "ip", args...)
	return err
}

func run(in, name string, args ...string) (out []byte, err error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err = cmd.Output(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
