package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Cluster is the cluster as one region sees it.
type Cluster struct {
	Cluster  string   `json:"cluster"`
	Region   string   `json:"region"`
	Replica  string   `json:"replica"`
	Vector   Vector   `json:"vector"`
	Topology Topology `json:"topology"`
	// Members are all regions, the one that answers included.
	Members []Member `json:"members"`
	// Problem, if any, is why the region takes no writes.
	Problem string `json:"problem,omitempty"`
	Inbox   struct {
		Changes int `json:"changes"`
		Bytes   int `json:"bytes"`
	} `json:"inbox"`
	Log struct {
		Changes uint64 `json:"changes"`
		Cut     Vector `json:"cut"`
		Removed uint64 `json:"removed"`
	} `json:"log"`
	// Snapshot is of one that the region takes of another, nil if it takes none.
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Storage  struct {
		Records int64 `json:"records"`
		Journal int64 `json:"journal"`
		Free    int64 `json:"free"`
	} `json:"storage"`
	// Conflicts is the log of them; Seen counts since the start.
	Conflicts struct {
		Records int   `json:"records"`
		Bytes   int64 `json:"bytes"`
		Seen    []struct {
			Collection string `json:"collection"`
			Policy     string `json:"policy"`
			Seen       uint64 `json:"seen"`
		} `json:"seen"`
	} `json:"conflicts"`
	Regions []Region `json:"regions"`
	// Process is what the region's process takes of the machine; nil from a
	// region that does not tell.
	Process *Process `json:"process,omitempty"`
	// Alarms say in words what an operator must look at.
	Alarms []string `json:"alarms"`
	// Raw is the answer as it came, with all that is not named here.
	Raw json.RawMessage `json:"-"`
}

// A Snapshot tells how far a region has got that copies another one.
type Snapshot struct {
	Region         string  `json:"region,omitempty"`
	Documents      uint64  `json:"documents"`
	Bytes          uint64  `json:"bytes"`
	TotalBytes     uint64  `json:"total_bytes"`
	BytesPerSecond uint64  `json:"bytes_per_second"`
	SecondsLeft    float64 `json:"seconds_left"`
	Replaying      bool    `json:"replaying"`
}

// A Vector tells how much is held of each replica.
type Vector map[string]uint64

// Topology is the shape of the links.
type Topology struct {
	Kind     string   `json:"kind"`
	Hub      string   `json:"hub,omitempty"`
	Deputies []string `json:"deputies,omitempty"`
}

// A Region is another region, as the one that answered sees it.
type Region struct {
	Region        string     `json:"region"`
	Replica       string     `json:"replica,omitempty"`
	Vector        Vector     `json:"vector"`
	Lag           uint64     `json:"lag"`
	LagSeconds    float64    `json:"lag_seconds"`
	Missing       uint64     `json:"missing"`
	ClockOffsetMs float64    `json:"clock_offset_ms"`
	LastHeard     *time.Time `json:"last_heard,omitempty"`
	StalenessMs   int64      `json:"staleness_ms"`
	Hears         []string   `json:"hears"`
	// Documents says whether it has the same documents: one of the verdicts.
	Documents string `json:"documents"`
	Link      Link   `json:"link"`
}

// A Link is the direct link with a region.
type Link struct {
	State     string     `json:"state"`
	Since     *time.Time `json:"since,omitempty"`
	RTTMs     float64    `json:"rtt_ms"`
	BytesIn   uint64     `json:"bytes_in"`
	BytesOut  uint64     `json:"bytes_out"`
	WireIn    uint64     `json:"wire_in"`
	WireOut   uint64     `json:"wire_out"`
	Dropped   uint64     `json:"dropped"`
	Address   string     `json:"address,omitempty"`
	LastError string     `json:"last_error,omitempty"`
}

// Process is what a region's process takes of the machine, since its start and
// now. What the system does not tell is 0.
type Process struct {
	UptimeSeconds      float64 `json:"uptime_seconds"`
	CPUSeconds         float64 `json:"cpu_seconds"`
	RSSBytes           int64   `json:"rss_bytes"`
	PeakRSSBytes       int64   `json:"peak_rss_bytes"`
	HeapBytes          uint64  `json:"heap_bytes"`
	Allocations        uint64  `json:"allocations"`
	AllocatedBytes     uint64  `json:"allocated_bytes"`
	GarbageCollections uint64  `json:"garbage_collections"`
	Goroutines         uint64  `json:"goroutines"`
	DiskWrittenBytes   int64   `json:"disk_written_bytes"`
}

// Cluster asks the region how it stands with the others.
func (c *Client) Cluster(ctx context.Context) (*Cluster, error) {
	s := &Cluster{}
	a, err := c.decode(ctx, request{method: http.MethodGet, path: "/v1/cluster"}, s)
	if err != nil {
		return nil, err
	}
	s.Raw = a.body
	return s, nil
}

// Ready returns nil if the region takes requests, or why it does not.
func (c *Client) Ready(ctx context.Context) error { return c.probe(ctx, "/readyz") }

// Live returns nil if the region's process answers.
func (c *Client) Live(ctx context.Context) error { return c.probe(ctx, "/livez") }

func (c *Client) probe(ctx context.Context, path string) error {
	_, err := c.do(ctx, request{method: http.MethodGet, path: path, loose: true})
	return err
}

// A Collection is a named set of documents, with its settings.
type Collection struct {
	Name        string          `json:"name"`
	Incarnation string          `json:"incarnation"`
	Created     string          `json:"created"`
	Type        string          `json:"type"`
	Policy      json.RawMessage `json:"policy"`
	// Regions are the patterns of the names of those that hold it, none if all do.
	Regions []string `json:"regions,omitempty"`
	// Shadowed collections are reached by their incarnation: another one, made
	// concurrently, goes by the name.
	Shadowed bool `json:"shadowed,omitempty"`
	// Raw is the answer as it came, with all settings.
	Raw json.RawMessage `json:"-"`
}

// Collections lists the collections that there are.
func (c *Client) Collections(ctx context.Context) ([]Collection, error) {
	var out struct {
		Collections []json.RawMessage `json:"collections"`
	}
	if _, err := c.decode(ctx, request{method: http.MethodGet, path: "/v1/collections"}, &out); err != nil {
		return nil, err
	}
	all := make([]Collection, len(out.Collections))
	for i, raw := range out.Collections {
		if err := json.Unmarshal(raw, &all[i]); err != nil {
			return nil, fmt.Errorf("the list of collections makes no sense: %w", err)
		}
		all[i].Raw = raw
	}
	return all, nil
}

// Verdicts of a comparison.
const (
	VerdictSame      = "same"
	VerdictDifferent = "different"
	VerdictUnknown   = "unknown"
)

// Convergence says which regions have the same documents as the one that answers.
type Convergence struct {
	Cluster string `json:"cluster"`
	Region  string `json:"region"`
	// Verdict is about all regions together.
	Verdict string `json:"verdict"`
	Vector  Vector `json:"vector"`
	Digest
	Collections []CollectionDigest  `json:"collections"`
	Regions     []RegionConvergence `json:"regions"`
	// Raw is the answer as it came.
	Raw json.RawMessage `json:"-"`
}

// A Digest is that of some documents, and their number.
type Digest struct {
	Documents uint64 `json:"documents"`
	Digest    string `json:"digest"`
}

// A CollectionDigest is the digest of a collection.
type CollectionDigest struct {
	Collection  string `json:"collection"`
	Incarnation string `json:"incarnation"`
	System      bool   `json:"system,omitempty"`
	Digest
	Verdict string `json:"verdict,omitempty"`
}

// RegionConvergence is how another region compares.
type RegionConvergence struct {
	Region      string             `json:"region"`
	Verdict     string             `json:"verdict"`
	Vector      Vector             `json:"vector,omitempty"`
	At          *time.Time         `json:"at,omitempty"`
	Reachable   bool               `json:"reachable"`
	Collections []CollectionDigest `json:"collections,omitempty"`
	Differences []Difference       `json:"differences,omitempty"`
}

// A Difference is a part of a collection in which documents differ.
type Difference struct {
	Collection  string `json:"collection"`
	Incarnation string `json:"incarnation"`
	Bucket      int    `json:"bucket"`
	Here        Digest `json:"here"`
	There       Digest `json:"there"`
}

// Convergence compares the documents of all regions. While changes are on their
// way the region waits, up to wait, until it can tell; it rounds that up to
// seconds.
func (c *Client) Convergence(ctx context.Context, wait time.Duration) (*Convergence, error) {
	s := &Convergence{}
	h := http.Header{"Prefer": {fmt.Sprintf("wait=%d", (wait+time.Second-1)/time.Second)}}
	a, err := c.decode(ctx, request{method: http.MethodGet, path: "/v1/cluster/convergence", header: h}, s)
	if err != nil {
		return nil, err
	}
	s.Raw = a.body
	return s, nil
}
