package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Processes are the pipes of one cluster.
type processes struct {
	dir  string
	cmds []*exec.Cmd
	urls []string
}

const listening = "listening on "

// startPipes starts this program again, once for each region.
func startPipes(ctx context.Context, n int, constant bool) (p *processes, err error) {
	p = &processes{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	if p.dir, err = os.MkdirTemp("", "pipe-"); err != nil {
		return p, err
	}
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	var peers []string
	for range n {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return p, err
		}
		peers = append(peers, c.LocalAddr().String())
		if err := c.Close(); err != nil {
			return p, err
		}
	}
	for i := range n {
		cmd := exec.CommandContext(ctx, self, "pipe", "--dir", fmt.Sprintf("%s/%d", p.dir, i), "--number", fmt.Sprint(i),
			"--peers", strings.Join(peers, ","), fmt.Sprintf("--constant=%t", constant))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return p, err
		}
		if err := cmd.Start(); err != nil {
			return p, err
		}
		p.cmds = append(p.cmds, cmd)
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return p, fmt.Errorf("pipe %d: %w", i, err)
		}
		p.urls = append(p.urls, strings.TrimSpace(strings.TrimPrefix(line, listening)))
	}
	return p, nil
}

func (p *processes) stop() error {
	for _, cmd := range p.cmds {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	var errs []error
	for _, cmd := range p.cmds {
		errs = append(errs, cmd.Wait())
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}
