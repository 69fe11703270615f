package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
)

// Types of the collection.
const (
	TypeDocument = "document"
	TypeRegister = "register"
)

// To which regions the clients talk.
const (
	ToAll   = "all"
	ToFirst = "first"
)

// Defaults and bounds of Config.
const (
	DefaultClients  = 64
	DefaultDuration = 10 * time.Second
	DefaultWarmup   = 2 * time.Second
	DefaultRecords  = 10_000
	DefaultSize     = 1000
	DefaultFields   = 10
	DefaultBatch    = 10
	DefaultSamples  = 20
	DefaultReaders  = 10

	MaxRegions = 9
	MaxClients = 10_000
	MaxRecords = 100_000_000
	MaxSize    = 1 << 20
	MaxFields  = 10_000
	MaxBatch   = 1000
	MaxSamples = 1000
	MaxReaders = 10_000
)

// ErrConfig is wrapped by the errors of Validate.
var ErrConfig = errors.New("bad configuration of a benchmark")

// Config says what is measured. It is part of the report.
type Config struct {
	// Addrs are the URLs of regions. Without any, a local cluster is made.
	Addrs []string `json:"addrs,omitempty"`
	// Regions, Topology and Data are those of the local cluster: how many, in
	// which shape, and in which folder (a temporary one if empty).
	Regions  int    `json:"regions,omitempty"`
	Topology string `json:"topology,omitempty"`
	Data     string `json:"-"`
	// Program is the executable that the local cluster runs.
	Program string `json:"-"`

	// Workload is the name of one of Workloads.
	Workload   string `json:"workload"`
	Collection string `json:"collection"`
	// Type is that of the collection, if the run makes it.
	Type string `json:"type"`
	// Records is how many documents there are when the load begins. Size is the
	// bytes of a document as JSON, and Fields how many fields these are in.
	Records int `json:"records"`
	Size    int `json:"size"`
	Fields  int `json:"fields"`
	// Keys is how documents are chosen: KeysUniform, KeysZipfian or KeysLatest.
	Keys string `json:"keys"`
	// Batch is how many documents a request of the workload "batch" writes.
	Batch int `json:"batch,omitempty"`

	// Readers is how many change feeds follow the workload "feed".
	Readers int `json:"readers,omitempty"`

	// Clients is how many there are, To which regions they talk: ToAll or ToFirst.
	Clients int    `json:"clients"`
	To      string `json:"to"`
	// Rate is how many requests are due per second, of all clients together. 0
	// means that each client sends the next one when the last was answered.
	Rate float64 `json:"rate"`
	// Duration is how long is measured, after Warmup.
	Duration time.Duration `json:"duration_ns"`
	Warmup   time.Duration `json:"warmup_ns"`
	// Acks is what writes wait for, as ?acks= takes it.
	Acks string `json:"acks,omitempty"`
	// Samples is how many writes per second are followed into the other regions.
	Samples float64 `json:"samples"`
	Seed    uint64  `json:"seed"`

	// Progress, if set, is told of what goes on, about once a second.
	Progress func(Progress) `json:"-"`
	// Log gets what the processes of a local cluster log. It may be nil.
	Log io.Writer `json:"-"`
}

// Validate fills in defaults and says what is wrong.
func (c *Config) Validate() error {
	w, ok := workloadOf(c.Workload)
	if !ok {
		return fmt.Errorf("%w: there is no workload %q, choose one of %s", ErrConfig, c.Workload, strings.Join(WorkloadNames(), ", "))
	}
	c.Workload = w.Name
	if c.Type == "" {
		c.Type = TypeDocument
	}
	if c.Keys == "" {
		c.Keys = w.keys
	}
	if c.To == "" {
		c.To = ToAll
	}
	if c.Topology == "" && len(c.Addrs) == 0 {
		c.Topology = string(topology.Mesh)
	}
	if w.records > 0 && c.Records == 0 {
		c.Records = w.records
	}
	for p, d := range map[*int]int{
		&c.Records: DefaultRecords, &c.Size: DefaultSize, &c.Fields: DefaultFields, &c.Clients: DefaultClients, &c.Batch: DefaultBatch,
	} {
		if *p == 0 {
			*p = d
		}
	}
	if w.feeds && c.Readers == 0 {
		c.Readers = DefaultReaders
	}
	if len(c.Addrs) > 0 {
		c.Regions, c.Topology = 0, ""
	} else if c.Regions == 0 {
		c.Regions = 1
	}
	return c.check(w)
}

func (c *Config) check(w Workload) error {
	for _, v := range []struct {
		what           string
		n, least, most int
	}{
		{"regions", max(c.Regions, len(c.Addrs)), 1, MaxRegions}, {"clients", c.Clients, 1, MaxClients},
		{"records", c.Records, 1, MaxRecords}, {"size", c.Size, 1, MaxSize}, {"fields", c.Fields, 1, MaxFields},
		{"batch", c.Batch, 1, MaxBatch}, {"samples", int(c.Samples), 0, MaxSamples}, {"readers", c.Readers, 0, MaxReaders},
	} {
		if v.n < v.least || v.n > v.most {
			return fmt.Errorf("%w: %s must be %d to %d, not %d", ErrConfig, v.what, v.least, v.most, v.n)
		}
	}
	for _, v := range []struct {
		what, given string
		known       []string
	}{
		{"type", c.Type, []string{TypeDocument, TypeRegister}},
		{"keys", c.Keys, []string{KeysUniform, KeysZipfian, KeysLatest}},
		{"to", c.To, []string{ToAll, ToFirst}},
	} {
		if !slices.Contains(v.known, v.given) {
			return fmt.Errorf("%w: %s must be %s, not %q", ErrConfig, v.what, strings.Join(v.known, " or "), v.given)
		}
	}
	if c.Type != TypeDocument && w.documents {
		return fmt.Errorf("%w: the workload %s needs a collection of type %s", ErrConfig, w.Name, TypeDocument)
	}
	if c.Readers > 0 && !w.feeds {
		return fmt.Errorf("%w: readers are for the workload feed, not for %s", ErrConfig, w.Name)
	}
	if c.Size < leastSize(c.Fields) {
		return fmt.Errorf("%w: %d fields take at least %d bytes, not %d", ErrConfig, c.Fields, leastSize(c.Fields), c.Size)
	}
	if c.Duration <= 0 || c.Warmup < 0 || c.Rate < 0 || c.Samples < 0 {
		return fmt.Errorf("%w: duration must be more than 0, and warm-up, rate and samples not less", ErrConfig)
	}
	if c.Acks != "" {
		if _, err := core.ParseQuorum(c.Acks); err != nil {
			return fmt.Errorf("%w: acks: %w", ErrConfig, err)
		}
	}
	if c.Topology != "" {
		if _, err := topology.ParseKind(c.Topology); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if c.Collection == "" {
		return fmt.Errorf("%w: a collection is needed", ErrConfig)
	}
	return nil
}

// Progress is where a run has come to.
type Progress struct {
	// Phase is what is done now.
	Phase string
	// Elapsed is for how long, Of how long it is meant to take, 0 if that is open.
	Elapsed, Of time.Duration
	// Done and Total count documents while loading, or what Unit says.
	Done, Total int
	Unit        string
	// Rate, P50, P99 and Failed are of the last second.
	Rate     float64
	P50, P99 time.Duration
	Failed   int64
	// Lag is how many changes some region lacks, while draining.
	Lag uint64
}

// What Progress.Phase says.
const (
	phaseLoading   = "loading"
	phaseFeeds     = "opening feeds"
	phaseWarming   = "warming up"
	phaseMeasuring = "measuring"
	phaseDraining  = "draining"
)
