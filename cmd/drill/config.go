// Package drill cuts a link of a live cluster for a while, and says what came of it:
// whether both sides went on to take writes, how far they lagged, which conflicts
// came about, how soon all had the same again, and that nothing acknowledged was lost.
package drill

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrConfig is wrapped by errors about what a drill was asked for.
var ErrConfig = errors.New("bad drill")

// The defaults and bounds of Config.
const (
	DefaultFor        = 10 * time.Second
	DefaultWrites     = 20
	DefaultPatience   = time.Minute
	DefaultCollection = "drill"
	// MaxFor bounds how long a link is cut, MaxWrites the writes per second and
	// region, MaxAll those of a drill, which are all looked for at its end.
	MaxFor    = 12 * time.Hour
	MaxWrites = 1000
	MaxAll    = 200_000
)

// Config is what a drill does.
type Config struct {
	// Addrs are the HTTP addresses of the regions that take part, at least two. They are
	// written to, and compared afterwards.
	Addrs []string
	// Link is what is cut: the link between two regions, as in "us-east:eu-west", or
	// all links of one region, as in "eu-west". "" is the link between the first two.
	Link string
	// For is how long, 1 s to MaxFor.
	For time.Duration
	// Writes is how many the drill makes per second and region, 0 to MaxWrites.
	Writes int
	// Collection is where. Its documents of this drill are deleted at the end,
	// unless Keep is set or something was lost.
	Collection string
	Keep       bool
	// Patience is how long the regions may take to converge once the link is back.
	Patience time.Duration
	// Progress is told now and then how it goes, Note of what happens.
	Progress func(text string)
	Note     func(text string)
}

// Validate says what is wrong with c. The error wraps ErrConfig.
func (c *Config) Validate() error {
	switch {
	case len(c.Addrs) < 2:
		return fmt.Errorf("%w: it takes the addresses of at least two regions, for both sides are written to and compared", ErrConfig)
	case c.For < time.Second || c.For > MaxFor:
		return fmt.Errorf("%w: a link is cut for 1s to %v, not %v", ErrConfig, MaxFor, c.For)
	case c.Writes < 0 || c.Writes > MaxWrites:
		return fmt.Errorf("%w: 0 to %d writes per second and region, not %d", ErrConfig, MaxWrites, c.Writes)
	case float64(c.Writes*len(c.Addrs))*c.For.Seconds() > MaxAll:
		return fmt.Errorf("%w: %d writes per second in %d regions for %v are more than %d; write less often", ErrConfig, c.Writes, len(c.Addrs), c.For, MaxAll)
	case c.Collection == "":
		return fmt.Errorf("%w: it takes a collection", ErrConfig)
	case c.Patience <= 0:
		return fmt.Errorf("%w: the time to converge must be more than 0", ErrConfig)
	case strings.Count(c.Link, ":") > 1:
		return fmt.Errorf("%w: a link is such as us-east:eu-west, and eu-west stands for all links of it; not %q", ErrConfig, c.Link)
	}
	return nil
}

// A Report is what came of a drill.
type Report struct {
	Cluster string    `json:"cluster"`
	Started time.Time `json:"started"`
	// Link is what was cut, Cuts at which regions that was asked for.
	Link       string  `json:"link"`
	Cuts       []Cut   `json:"cuts"`
	CutSeconds float64 `json:"cut_seconds"`
	Collection string  `json:"collection"`
	// Writes are those of the drill itself, while the link was cut.
	Writes []Writes `json:"writes"`
	// Conflicts are those that the regions saw meanwhile, by collection.
	Conflicts     []Conflicts `json:"conflicts"`
	ConflictsMade uint64      `json:"conflicts_made"`
	// Peak is the greatest lag, Lags the greatest of each pair of regions.
	Peak Lag   `json:"peak_lag"`
	Lags []Lag `json:"lags"`
	// Converged says whether all regions had what any of them had when the link came
	// back, ConvergeSeconds how long that took.
	Converged       bool    `json:"converged"`
	ConvergeSeconds float64 `json:"converge_seconds"`
	// Documents says whether all have the same documents: a client.Verdict….
	Documents string `json:"documents"`
	// Lost counts acknowledged writes that a region lacks in the end, Examples names some.
	Lost     int      `json:"lost"`
	Examples []string `json:"lost_examples,omitempty"`
	// NotChecked are the regions whose addresses were not given.
	NotChecked []string `json:"not_checked,omitempty"`
	Passed     bool     `json:"passed"`
}

// A Cut is a link that a region cut.
type Cut struct {
	At   string `json:"at"`
	Peer string `json:"peer"`
}

func (c Cut) String() string { return c.At + " – " + c.Peer }

// Writes are those to one region.
type Writes struct {
	Region       string `json:"region"`
	Acknowledged int    `json:"acknowledged"`
	// Refused were not made; of Unanswered ones it is not known.
	Refused    int     `json:"refused"`
	Unanswered int     `json:"unanswered"`
	P50Ms      float64 `json:"p50_ms"`
	P99Ms      float64 `json:"p99_ms"`
	MaxMs      float64 `json:"max_ms"`
	// Error is the last error.
	Error string `json:"error,omitempty"`
}

// Conflicts counts those in a collection.
type Conflicts struct {
	Collection string `json:"collection"`
	Conflicts  uint64 `json:"conflicts"`
}

// A Lag is how much a region was known to have that another one lacked.
type Lag struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Changes uint64  `json:"changes"`
	Seconds float64 `json:"seconds"`
}
