package region

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/region/core"
)

// collectTimeout is how long a scrape waits for the owner. What only the owner
// knows is left out after that.
const collectTimeout = 5 * time.Second

// A collector looks up, at each scrape, what the region knows anyway.
type collector struct{ r *Region }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("meridian_"+name, help, labels, nil)
}

// The descriptions of what a collector tells. Those with a peer are of the
// other region as it is seen from here.
var (
	descInfo  = describe("region_info", "What the region is; the value is 1.", "cluster", "replica", "topology")
	descReady = describe("ready", "Whether the region takes writes.")
	descFence = describe("fenced", "Whether the store must never take writes again, or not until a peer has cleared up why.")

	descMailbox         = describe("mailbox_requests", "Requests of clients that wait for the owner.")
	descMailboxCap      = describe("mailbox_capacity", "How many requests may wait before others are answered 429.")
	descPeerMailbox     = describe("peer_mailbox_messages", "Messages of peers that wait for the owner.")
	descPeerMailboxCap  = describe("peer_mailbox_capacity", "How many messages may wait before links are held back.")
	descInbox           = describe("inbox_changes", "Changes of others that wait for what they depend on.")
	descInboxBytes      = describe("inbox_bytes", "Bytes of the changes that wait for what they depend on.")
	descStoreRecords    = describe("store_records_bytes", "Bytes on disk of the store's records.")
	descStoreJournal    = describe("store_journal_bytes", "Bytes on disk of the store's write-ahead log and other files.")
	descStoreFree       = describe("store_free_bytes", "Bytes that are free for the store, its reserve left out.")
	descDamaged         = describe("damaged_documents", "Stored documents that are damaged and wait to be repaired.")
	descHeld            = describe("changes", "Changes that this region holds.")
	descLog             = describe("log_changes", "Changes that the log has, for regions that come back.")
	descLogRemoved      = describe("log_removed_changes_total", "Changes that were cut off the log.")
	descHeldLag         = describe("held_lag_changes", "Changes held here that not every region is known to hold.")
	descHeldSeconds     = describe("held_lag_seconds", "For how long the oldest of them has not been held by all.")
	descStableLag       = describe("stable_lag_changes", "Changes held here that are not stable: metadata is kept for them.")
	descStableSeconds   = describe("stable_lag_seconds", "For how long the oldest of them has been held here.")
	descConflicts       = describe("conflicts_total", "Conflicts seen, by collection and policy.", "collection", "policy")
	descPolicyFailures  = describe("policy_failures_total", "Conflicts for which a script could not decide, so that the last write is shown.", "collection", "policy")
	descCallbackCalls   = describe("callback_calls_total", "Calls of callbacks that this region made as the arbiter, by how they ended: answered, kept (the versions stay side by side) or failed.", "collection", "outcome")
	descCallbackWaiting = describe("callback_waiting_conflicts", "Conflicts that this region, as the arbiter, has taken up and a callback is to decide.", "collection")
	descCallbackPaused  = describe("callback_paused", "1 if a callback is left alone for a while after too many failures, 0 otherwise.", "collection")
	descConflictRecords = describe("conflict_log_records", "Conflicts in the log.")
	descConflictBytes   = describe("conflict_log_bytes", "Bytes of the conflicts in the log.")
	descStaleness       = describe("staleness_seconds", "The age of the news of the region that was heard least recently.")

	descLinkState   = describe("link_state", "1 for the state that the link is in, 0 for the others.", "peer", "state")
	descLinkRTT     = describe("link_rtt_seconds", "The smoothed round trip on the link. Absent while there is none.", "peer")
	descLinks       = describe("links_established_total", "How often a link came up.", "peer")
	descBytesIn     = describe("link_received_bytes_total", "Bytes received on links, as compressed.", "peer")
	descBytesOut    = describe("link_sent_bytes_total", "Bytes sent on links, as compressed.", "peer")
	descMessagesIn  = describe("link_received_messages_total", "Messages received on links.", "peer")
	descMessagesOut = describe("link_sent_messages_total", "Messages sent on links.", "peer")
	descDropped     = describe("link_dropped_messages_total", "Live messages for which a queue had no room; what they held is sent again.", "peer")
	descQueued      = describe("link_queued_bytes", "Bytes that wait on the live stream.", "peer")
	descLag         = describe("peer_lag_changes", "Changes held here that the region is not known to hold.", "peer")
	descLagSeconds  = describe("peer_lag_seconds", "For how long the region has lacked the oldest of them.", "peer")
	descMissing     = describe("peer_missing_changes", "Changes that the region holds and that have not arrived here.", "peer")
	descOffset      = describe("peer_clock_offset_seconds", "Its clock minus the clock here, half a round trip taken into account. Absent while there is no link.", "peer")
	descDiffer      = describe("peer_documents_differ", "1 if the region has other documents where it should have the same, 0 otherwise.", "peer")
	descNewsAge     = describe("peer_news_age_seconds", "The age of the last news of the region, over any path.", "peer")
)

// Describe implements prometheus.Collector. The metrics are not told before,
// since which there are depends on the peers.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	r := c.r
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descReady, number(r.Ready() == nil))
	gauge(descMailbox, float64(len(r.submits)))
	gauge(descMailboxCap, float64(cap(r.submits)))
	gauge(descPeerMailbox, float64(len(r.events)))
	gauge(descPeerMailboxCap, float64(cap(r.events)))
	gauge(descStaleness, r.Staleness().Seconds())
	if sizes, err := r.store.Sizes(); err == nil {
		gauge(descStoreRecords, float64(sizes.Records))
		gauge(descStoreJournal, float64(sizes.Journal))
		if sizes.Free >= 0 {
			gauge(descStoreFree, float64(sizes.Free))
		}
	}
	log := r.ConflictStatus()
	gauge(descConflictRecords, float64(log.Records))
	gauge(descConflictBytes, float64(log.Bytes))
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, n := range log.Counts {
		name := cmp.Or(n.Collection, OtherCollections)
		count(descConflicts, n.Seen, name, n.Policy)
		count(descPolicyFailures, n.Failed, name, n.Policy)
	}
	for _, n := range log.Callbacks {
		name := cmp.Or(n.Collection, OtherCollections)
		count(descCallbackCalls, n.Answered, name, "answered")
		count(descCallbackCalls, n.Kept, name, "kept")
		count(descCallbackCalls, n.Failed, name, "failed")
		gauge(descCallbackWaiting, float64(n.Waiting), name)
		gauge(descCallbackPaused, number(n.Paused), name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	status, err := r.inspect(ctx)
	if err != nil {
		return
	}
	gauge(descInfo, 1, r.cfg.Cluster, status.Replica.String(), string(status.Spec.Kind))
	gauge(descFence, number(status.Fenced != "" || status.Suspect != ""))
	gauge(descInbox, float64(status.Inbox.Changes))
	gauge(descInboxBytes, float64(status.Inbox.Bytes))
	gauge(descDamaged, float64(len(status.Damaged)))
	gauge(descHeld, float64(status.Changes))
	gauge(descLog, float64(status.Log.Changes))
	count(descLogRemoved, status.Log.Removed)
	gauge(descHeldLag, float64(status.HeldLag))
	gauge(descHeldSeconds, status.HeldBehind.Seconds())
	gauge(descStableLag, float64(status.StableLag))
	gauge(descStableSeconds, status.StableBehind.Seconds())
	states := r.transport.Peers()
	for _, p := range status.Peers {
		c.peer(out, r.regionStatus(p, states[p.Region]))
	}
}

// peer tells of another region and the links with it.
func (c collector) peer(out chan<- prometheus.Metric, p RegionStatus) {
	tell := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, v, append([]string{p.Region}, labels...)...)
	}
	for _, state := range []string{LinkStateUp, LinkStateSilent, LinkStateDown} {
		tell(descLinkState, prometheus.GaugeValue, number(p.Link.State == state), state)
	}
	if p.Link.State != LinkStateDown {
		tell(descLinkRTT, prometheus.GaugeValue, p.Link.RTTMs/1000)
		tell(descOffset, prometheus.GaugeValue, p.ClockOffsetMs/1000)
	}
	tell(descLag, prometheus.GaugeValue, float64(p.Lag))
	tell(descLagSeconds, prometheus.GaugeValue, p.LagSeconds)
	tell(descMissing, prometheus.GaugeValue, float64(p.Missing))
	tell(descDiffer, prometheus.GaugeValue, number(p.Documents == VerdictDifferent))
	tell(descNewsAge, prometheus.GaugeValue, float64(p.StalenessMs)/1000)
	sum, links := c.r.metrics.links.of(p.Region)
	tell(descLinks, prometheus.CounterValue, float64(links))
	tell(descBytesIn, prometheus.CounterValue, float64(sum.BytesIn))
	tell(descBytesOut, prometheus.CounterValue, float64(sum.BytesOut))
	tell(descMessagesIn, prometheus.CounterValue, float64(sum.MessagesIn))
	tell(descMessagesOut, prometheus.CounterValue, float64(sum.MessagesOut))
	tell(descDropped, prometheus.CounterValue, float64(sum.Dropped))
	tell(descQueued, prometheus.GaugeValue, float64(sum.QueuedBytes))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// inspect asks the owner how it stands. Unlike what clients ask it waits for
// room in the mailbox: a region is looked at most closely when it is busy.
func (r *Region) inspect(ctx context.Context) (core.Status, error) {
	s := submission{ask: core.Inspect{}, reply: make(chan core.Reply, 1)}
	select {
	case r.submits <- s:
	case <-ctx.Done():
		return core.Status{}, ctx.Err()
	case <-r.stopped:
		return core.Status{}, ErrStopped
	}
	select {
	case reply := <-s.reply:
		if reply.Err != nil {
			return core.Status{}, reply.Err
		}
		return reply.Result.(core.Status), nil
	case <-ctx.Done():
		return core.Status{}, ctx.Err()
	case <-r.stopped:
		return core.Status{}, ErrStopped
	}
}
