// Package demo runs several regions on this machine, with real links and real
// stores, and walks through what Meridian does for someone who has never heard of
// version vectors: it says what happens, does it over HTTP as a user would, shows
// the outcome, and checks each thing that it claims.
//
// The texts are in story.go, what is done and checked in the files act_*.go. The
// curl commands that are printed are made of the requests that are sent.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/meridiandb/meridian/topology"
)

// MaxRegions is the most regions that a demo has.
const MaxRegions = 9

// names are those of the regions, in this order.
var names = [MaxRegions]string{
	"us-east", "eu-west", "ap-south", "sa-east", "af-south",
	"us-west", "eu-north", "ap-east", "me-central",
}

const (
	// walkLimit ends a walk that hangs, well before a person gives up.
	walkLimit = 45 * time.Second
	// stepLimit is how long any one thing may take to become true.
	stepLimit = 10 * time.Second
	// pollEvery is how often a condition is looked at.
	pollEvery = 10 * time.Millisecond
)

// Errors of Run.
var (
	// ErrChecks: the walk came to its end, and some of its checks failed.
	ErrChecks = errors.New("checks failed")
	// ErrConfig: the configuration is wrong.
	ErrConfig = errors.New("bad configuration")
)

// A PortError is a port that cannot be had.
type PortError struct {
	Port   int
	Region string
	Err    error
}

// Error implements error.
func (e *PortError) Error() string {
	return fmt.Sprintf("port %d, for the HTTP API of %s, cannot be had: %v", e.Port, e.Region, e.Err)
}

// Unwrap returns the error of the network.
func (e *PortError) Unwrap() error { return e.Err }

// Config says what to show, and where.
type Config struct {
	// Regions is how many regions there are, 1 to MaxRegions.
	Regions  int
	Topology topology.Kind
	// Data is where the regions keep their stores. If empty they are in a
	// temporary folder, which is removed at the end.
	Data string
	// HTTPBase is the port of the first region's API; the others follow. 0 takes
	// free ones.
	HTTPBase int
	// SkipWalk only brings the regions up, Exit leaves after the walk.
	SkipWalk, Exit bool
	// Out gets the story. Log, if set, gets what the regions log, which otherwise
	// is in a file in the data folder only.
	Out, Log io.Writer
	// Color and Width are for the terminal that Out is.
	Color bool
	Width int
	// Transport is what the walk's requests go through. Default is one of the
	// demo's own.
	Transport http.RoundTripper
}

func (c *Config) check() error {
	if c.Regions < 1 || c.Regions > MaxRegions {
		return fmt.Errorf("%w: %d regions; choose 1 to %d", ErrConfig, c.Regions, MaxRegions)
	}
	if _, err := topology.ParseKind(string(c.Topology)); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.HTTPBase < 0 || c.HTTPBase > 0 && c.HTTPBase+c.Regions-1 > maxPort {
		return fmt.Errorf("%w: there are no ports %d to %d", ErrConfig, c.HTTPBase, c.HTTPBase+c.Regions-1)
	}
	return nil
}

const maxPort = 1<<16 - 1

// Run shows the demo. It ends by itself only with Config.Exit; otherwise it stays
// up until ctx ends, which then is no error. ErrChecks says that what was shown is
// not as it should be.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	st := newStage(cfg.Out, cfg.Color, cfg.Width)
	st.line(starting(cfg.Regions))
	c, err := start(ctx, &cfg)
	if err != nil {
		return err
	}
	w := newWalk(st, c, &cfg)
	defer w.http.close()
	return errors.Join(w.run(ctx), c.stop())
}

// run plays the story, and then stays up if it is to.
func (w *walk) run(ctx context.Context) error {
	c := w.cluster
	playing, cancel := context.WithCancel(ctx)
	defer cancel()
	release := context.AfterFunc(c.failed, cancel) // a region that fails ends the walk
	defer release()

	if err := w.play(playing); err != nil {
		switch {
		case c.failed.Err() != nil:
			return context.Cause(c.failed)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return err
	}
	w.closing()
	if !w.cfg.Exit {
		w.line(storyStays)
		<-playing.Done()
		if c.failed.Err() != nil {
			return context.Cause(c.failed)
		}
	}
	if n := w.failures(); n > 0 {
		return fmt.Errorf("%d of %d %w", n, w.checks, ErrChecks)
	}
	return nil
}

// play waits for the regions and then, unless it is to be skipped, plays the story.
func (w *walk) play(ctx context.Context) error {
	if err := w.opening(ctx); err != nil || w.cfg.SkipWalk {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, walkLimit, fmt.Errorf("the walk took longer than %v", walkLimit))
	defer cancel()
	return w.acts(ctx)
}
