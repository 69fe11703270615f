package region

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport"
)

// VectorStatus is a vector as JSON: replica id to sequence number.
type VectorStatus map[string]uint64

func vectorStatus(v crdt.Vector) VectorStatus {
	out := VectorStatus{}
	for r, seq := range v.All() {
		out[r.String()] = seq
	}
	return out
}

// ClusterStatus is the cluster as this region sees it.
type ClusterStatus struct {
	Cluster string `json:"cluster"`
	Region  string `json:"region"`
	Replica string `json:"replica"`
	// StorageID is how clients of automerge-repo know the region, see StorageID.
	StorageID string `json:"storage_id"`
	// Vector is what this region holds, Held what every region is known to
	// hold, Stable that below which nothing concurrent can still arrive.
	Vector   VectorStatus  `json:"vector"`
	Held     VectorStatus  `json:"held"`
	Stable   VectorStatus  `json:"stable"`
	Topology topology.Spec `json:"topology"`
	// Members are all regions, this one and those that were removed included, in the
	// order of names.
	Members []MemberStatus `json:"members"`
	Inbox   InboxStatus    `json:"inbox"`
	Problem string         `json:"problem,omitempty"`
	Log     LogStatus      `json:"log"`
	// Snapshot is of one that this region takes of another, if it does.
	Snapshot *SnapshotStatus `json:"snapshot,omitempty"`
	Storage  StorageStatus   `json:"storage"`
	// Conflicts is the log of them.
	Conflicts ConflictLogStatus `json:"conflicts"`
	Regions   []RegionStatus    `json:"regions"`
	// Process is what the region's process takes of the machine.
	Process ProcessStatus `json:"process"`
	// Damaged are stored documents that are not what was written, and wait to be
	// repaired; Repaired those that were, the last ones since the start.
	Damaged  []DamageStatus `json:"damaged,omitempty"`
	Repaired []DamageStatus `json:"repaired,omitempty"`
	// Alarms say in words what an operator must look at: there should be none.
	Alarms []string `json:"alarms"`
	// Shares are those of counters with bounds.
	Shares ShareStatus `json:"shares"`
	// Removed says that this region is not, or soon no more, one of the cluster.
	Removed string `json:"removed,omitempty"`
	// Rejoin tells of what this region had written and no other had, if it was removed
	// and came back since the start.
	Rejoin *RejoinStatus `json:"rejoin,omitempty"`
	// Requests are those under idempotency keys.
	Requests RequestStatus `json:"requests"`
}

// States of a MemberStatus.
const (
	// MemberJoining was added and has not announced itself, which it does when it
	// has taken everything in.
	MemberJoining = "joining"
	MemberActive  = "member"
	// MemberLeaving is being removed, and MemberRemoved was.
	MemberLeaving = "leaving"
	MemberRemoved = "removed"
)

// MemberStatus is a region of the cluster.
type MemberStatus struct {
	Region string `json:"region"`
	// Address is where it is dialled from here.
	Address string `json:"address,omitempty"`
	State   string `json:"state"`
	// Waiting are the regions that a removal waits for.
	Waiting []string `json:"waiting,omitempty"`
}

// RejoinStatus tells of documents that were brought in of a store that came back:
// those written, those of them in conflict with what others wrote, those that went to the
// collection core.SetAside, and the changes still to come.
type RejoinStatus struct {
	Documents int `json:"documents"`
	Conflicts int `json:"conflicts"`
	SetAside  int `json:"set_aside"`
	Left      int `json:"left"`
}

func (r *Region) memberStatus() []MemberStatus {
	p := r.published.Load()
	out := make([]MemberStatus, len(p.members), len(p.members)+len(p.catalog.Removed()))
	for i, name := range p.members {
		out[i] = MemberStatus{Region: name, Address: r.cfg.address(p.catalog, name), State: MemberActive}
		if m, listed := p.catalog.Member(name); listed && !m.Added.IsZero() && !p.catalog.Announced(name) {
			out[i].State = MemberJoining
		}
		if _, leaving := p.catalog.Removing(name); leaving {
			out[i].State, out[i].Waiting = MemberLeaving, p.catalog.Waiting()
		}
	}
	for _, name := range p.catalog.Removed() {
		if !slices.Contains(p.members, name) {
			out = append(out, MemberStatus{Region: name, State: MemberRemoved})
		}
	}
	slices.SortFunc(out, func(a, b MemberStatus) int { return strings.Compare(a.Region, b.Region) })
	return out
}

// ShareStatus tells of the shares of counters with bounds. Waiting is how many
// writes wait for some now; Asked and Given count, since the start, the requests
// for shares to other regions and those of others that were met.
type ShareStatus struct {
	Waiting int    `json:"waiting"`
	Asked   uint64 `json:"asked"`
	Given   uint64 `json:"given"`
}

// LogStatus tells of the log of changes, from which other regions catch up.
type LogStatus struct {
	// Changes is how many it has, Cut up to where it was cut.
	Changes uint64       `json:"changes"`
	Cut     VectorStatus `json:"cut"`
	// Removed is how many were cut off since the start.
	Removed uint64 `json:"removed"`
}

// SnapshotStatus tells of a snapshot that is being taken.
type SnapshotStatus struct {
	// Region is where it comes from, empty while nobody can give it.
	Region string `json:"region,omitempty"`
	// Documents and Bytes are what was copied, TotalBytes about how many there
	// are, 0 if that is not known.
	Documents  uint64 `json:"documents"`
	Bytes      uint64 `json:"bytes"`
	TotalBytes uint64 `json:"total_bytes"`
	// BytesPerSecond is since this process goes on with it, SecondsLeft what the
	// rest takes at that rate, 0 if that is not known.
	BytesPerSecond uint64  `json:"bytes_per_second"`
	SecondsLeft    float64 `json:"seconds_left"`
	// Replaying says that all documents are here and the log is caught up with.
	Replaying bool `json:"replaying"`
}

// DamageStatus is a stored document that was found damaged.
type DamageStatus struct {
	// Collection is an incarnation.
	Collection string    `json:"collection"`
	ID         string    `json:"id"`
	Since      time.Time `json:"since"`
	Reason     string    `json:"reason"`
	// At is when it was repaired, From the region whose copy was taken.
	At   *time.Time `json:"at,omitempty"`
	From string     `json:"from,omitempty"`
}

func damageStatus(d core.Damage) DamageStatus {
	return DamageStatus{Collection: d.Key.Collection.String(), ID: d.Key.ID, Since: d.Since.UTC(), Reason: d.Reason}
}

// InboxStatus tells what waits for changes that it depends on.
type InboxStatus struct {
	Changes int `json:"changes"`
	Bytes   int `json:"bytes"`
}

// StorageStatus tells what the store takes on disk, in bytes. Free is -1 if unknown.
type StorageStatus struct {
	Records int64 `json:"records"`
	Journal int64 `json:"journal"`
	Free    int64 `json:"free"`
}

// ConflictLogStatus tells of the log of conflicts.
type ConflictLogStatus struct {
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Seen counts the conflicts since the start, by collection and policy.
	Seen []ConflictCount `json:"seen"`
	// Callbacks tell of the calls of callbacks, by collection.
	Callbacks []CallbackCount `json:"callbacks,omitempty"`
}

// CallbackCount tells of the calls of a collection's callback since the start.
type CallbackCount struct {
	Collection string `json:"collection"`
	// Asked counts calls, Answered the answers that were written, Kept those that
	// left the versions as they are, Failed the calls without an answer.
	Asked    uint64 `json:"asked"`
	Answered uint64 `json:"answered"`
	Kept     uint64 `json:"kept"`
	Failed   uint64 `json:"failed"`
	// Waiting is how many conflicts this region, as the arbiter, has taken up.
	Waiting int `json:"waiting"`
	// Paused says that after too many failures there are no calls for a while.
	Paused bool `json:"paused"`
}

// ConflictCount is how many conflicts were seen in a collection under a policy, and
// in how many of them the policy, a script, failed.
type ConflictCount struct {
	Collection string `json:"collection"`
	Policy     string `json:"policy"`
	Seen       uint64 `json:"seen"`
	Failed     uint64 `json:"failed"`
}

// RegionStatus is another region as this one sees it.
type RegionStatus struct {
	Region  string `json:"region"`
	Replica string `json:"replica,omitempty"`
	// StorageID is how clients of automerge-repo know the region.
	StorageID string       `json:"storage_id"`
	Vector    VectorStatus `json:"vector"`
	// Lag counts the changes held here that the region is not known to have,
	// LagSeconds for how long it has lacked the oldest of them.
	Lag        uint64  `json:"lag"`
	LagSeconds float64 `json:"lag_seconds"`
	// Missing counts the changes that it has and this region lacks.
	Missing uint64 `json:"missing"`
	// ClockOffsetMs is its clock minus ours, half a round trip taken into account.
	ClockOffsetMs float64 `json:"clock_offset_ms"`
	// LastHeard is when news of it last came, over any path.
	LastHeard *time.Time `json:"last_heard,omitempty"`
	// StalenessMs is the age of that news; if there never was any, the time since
	// the start.
	StalenessMs int64 `json:"staleness_ms"`
	// Hears are the regions that it says it hears.
	Hears []string `json:"hears"`
	// Documents says whether it has the same documents as this region: one of the
	// verdicts of [Convergence].
	Documents string     `json:"documents"`
	Link      LinkStatus `json:"link"`
}

// States of a link in LinkStatus.
const (
	LinkStateUp     = "up"
	LinkStateSilent = "silent" // there is a connection but nothing is heard
	LinkStateDown   = "down"
)

// LinkStatus is the direct link with a region. Bytes are those of messages as
// they are compressed, wire those of the packets that carry them.
type LinkStatus struct {
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

// Cluster tells how the cluster looks from here.
func (r *Region) Cluster(ctx context.Context) (ClusterStatus, error) {
	res, err := r.submit(ctx, core.Inspect{})
	if err != nil {
		return ClusterStatus{}, err
	}
	s := res.(core.Status)
	out := ClusterStatus{
		Cluster: r.cfg.Cluster, Region: s.Region, Replica: s.Replica.String(),
		StorageID: StorageID(r.cfg.Cluster, s.Region),
		Vector:    vectorStatus(s.Have), Held: vectorStatus(s.Held), Stable: vectorStatus(s.Stable),
		Topology: s.Spec, Inbox: InboxStatus(s.Inbox), Problem: cmp.Or(s.Fenced, s.Suspect), Regions: []RegionStatus{}, Alarms: []string{},
	}
	out.Log = LogStatus{Changes: s.Log.Changes, Cut: vectorStatus(s.Log.Cut), Removed: s.Log.Removed}
	if p := s.Snapshot; p != nil {
		out.Snapshot = &SnapshotStatus{
			Region: p.Region, Documents: p.Documents, Bytes: p.Bytes, TotalBytes: p.Total,
			BytesPerSecond: p.Rate, SecondsLeft: p.Left.Seconds(), Replaying: p.Replaying,
		}
	}
	sizes, err := r.store.Sizes()
	if err != nil {
		return ClusterStatus{}, readError(err)
	}
	out.Storage = StorageStatus(sizes)
	log := r.ConflictStatus()
	out.Conflicts = ConflictLogStatus{Records: log.Records, Bytes: log.Bytes, Seen: make([]ConflictCount, len(log.Counts))}
	for i, n := range log.Counts {
		out.Conflicts.Seen[i] = ConflictCount(n)
	}
	for _, n := range log.Callbacks {
		out.Conflicts.Callbacks = append(out.Conflicts.Callbacks, CallbackCount(n))
	}
	out.Process = r.process()
	out.Requests, out.Shares = r.requestStatus(), ShareStatus(s.Shares)
	for _, d := range s.Damaged {
		out.Damaged = append(out.Damaged, damageStatus(d))
	}
	if n := len(s.Damaged); n > 0 {
		out.Alarms = append(out.Alarms, fmt.Sprintf("stored documents are damaged (%d), and are repaired when another region can be reached", n))
	}
	for _, x := range s.Repaired {
		d, at := damageStatus(x.Damage), x.At.UTC()
		d.At, d.From = &at, x.From
		out.Repaired = append(out.Repaired, d)
	}
	out.Members = r.memberStatus()
	if out.Removed = s.Removed; out.Removed != "" {
		out.Alarms = append(out.Alarms, out.Removed)
	}
	if s.Rebased != (core.Rebased{}) {
		rejoin := RejoinStatus(s.Rebased)
		out.Rejoin = &rejoin
	}
	states := r.transport.Peers()
	for _, p := range s.Peers {
		out.Regions = append(out.Regions, r.regionStatus(p, states[p.Region]))
		if p.Away > 0 {
			out.Alarms = append(out.Alarms, fmt.Sprintf("%s was not heard for %v: the log is kept for it, %d changes by now, and what is deleted is not forgotten; if it is gone for good: meridian region remove %s",
				p.Region, p.Away.Round(time.Second), s.Log.Changes, p.Region))
		}
		if p.Compared.Verdict == core.Different {
			out.Alarms = append(out.Alarms, fmt.Sprintf("%s has other documents than this region in the same versions, since at least %s; GET /v1/cluster/convergence says where",
				p.Region, p.Compared.At.UTC().Format(time.RFC3339)))
		}
	}
	return out, nil
}

func (r *Region) regionStatus(p core.PeerStatus, state transport.PeerState) RegionStatus {
	out := RegionStatus{
		Region: p.Region, StorageID: StorageID(r.cfg.Cluster, p.Region), Vector: vectorStatus(p.Have), Lag: p.Lag, LagSeconds: p.Behind.Seconds(),
		Missing: p.Missing, Hears: p.Links, Documents: verdictText(p.Compared.Verdict),
		Link: LinkStatus{State: LinkStateDown, Address: state.Endpoint.Addr},
	}
	if out.Hears == nil {
		out.Hears = []string{}
	}
	if !p.Replica.IsZero() {
		out.Replica = p.Replica.String()
	}
	heard := r.started
	if p.LastHeard.After(heard) {
		heard = p.LastHeard
	}
	out.StalenessMs = max(r.cfg.Clock().Sub(heard), 0).Milliseconds()
	if !p.LastHeard.IsZero() {
		t := p.LastHeard.UTC()
		out.LastHeard = &t
	}
	r.mu.Lock()
	link := r.links[p.Region]
	r.mu.Unlock()
	if link == nil {
		if state.LastError != nil {
			out.Link.LastError = state.LastError.Error()
		}
		return out
	}
	st := link.Stats()
	since := st.Since.UTC()
	out.Link.State, out.Link.Since = LinkStateSilent, &since
	if p.Heard {
		out.Link.State = LinkStateUp
	}
	out.Link.RTTMs = milliseconds(st.RTT)
	out.Link.BytesIn, out.Link.BytesOut, out.Link.Dropped = st.BytesIn, st.BytesOut, st.Dropped
	out.Link.WireIn, out.Link.WireOut = st.WireIn, st.WireOut
	out.ClockOffsetMs = milliseconds(p.Offset + st.RTT/2)
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
