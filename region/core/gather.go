package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// Reads across regions gather vectors, never states: once this region holds all
// that the others held when they were asked, what it shows is as new as theirs.
// All reads that begin in one step share one query.

// Errors of reads across regions.
var (
	// ErrNoQuorum: not enough regions answered in time (HTTP 503).
	ErrNoQuorum = errors.New("not enough regions answer")
	// ErrCrowded: as many reads across regions are under way as may be (HTTP 429).
	ErrCrowded = errors.New("too many reads across regions")
)

const (
	// maxGathers bounds the reads that wait for the vectors of others.
	maxGathers = 4096
	// maxRoutes bounds the queries of others whose answers come through here;
	// further ones are not passed on.
	maxRoutes = 8192
	// routeAge is for how long an answer to a query of another finds its way.
	routeAge = 30 * time.Second
)

// Gather asks what other regions hold. It is answered with Gathered when a
// resolved Quorum, this region included, has told, or by ErrNoQuorum after For.
type Gather struct {
	Quorum Quorum
	For    time.Duration
}

// Gathered is what regions held at some moment after they were asked.
type Gathered struct {
	// Regions are those that told, this one first.
	Regions []string
	// Have is what the others of them held, together.
	Have crdt.Vector
}

// A round is one query, and who waits for its answers.
type round struct {
	id      uint64
	asks    []gatherAsk
	regions []string // that have answered, and this one
	have    crdt.Vector
	sent    bool
	again   time.Duration // uptime at which it is sent again
}

type gatherAsk struct {
	submit   uint64
	quorum   Quorum
	deadline time.Duration
}

type queryKey struct {
	session crdt.ReplicaID
	id      uint64
}

type route struct {
	key  queryKey
	peer string
	at   time.Duration
}

type gatherer struct {
	session crdt.ReplicaID // tells answers to an earlier process apart
	nextID  uint64
	rounds  []*round // by id
	asks    int
	// routes are the queries of others that were passed on, oldest first.
	routes []route
	byKey  map[queryKey]string
	// pass and replies are sent at the end of the step, replies when what they
	// tell is durable.
	pass    []wire.VectorQuery
	via     []string
	replies []outgoingReply
}

type outgoingReply struct {
	peer string
	key  queryKey
}

func (c *Core) startGather(submit uint64, g Gather) {
	s := &c.gatherer
	if g.Quorum.Met([]string{c.cfg.Region}) {
		c.reply(submit, Gathered{Regions: []string{c.cfg.Region}}, nil)
		return
	}
	if s.asks >= maxGathers {
		c.reply(submit, nil, fmt.Errorf("%w: %d wait already", ErrCrowded, s.asks))
		return
	}
	c.session()
	if n := len(s.rounds); n == 0 || s.rounds[n-1].sent {
		s.nextID++
		s.rounds = append(s.rounds, &round{id: s.nextID, regions: []string{c.cfg.Region}})
	}
	r := s.rounds[len(s.rounds)-1]
	r.asks = append(r.asks, gatherAsk{submit, g.Quorum, c.uptime + g.For})
	s.asks++
}

// session names the present run of the process.
func (c *Core) session() crdt.ReplicaID {
	if c.gatherer.session.IsZero() {
		c.gatherer.session = c.cfg.NewReplica()
	}
	return c.gatherer.session
}

func (c *Core) reply(submit uint64, result any, err error) {
	c.fx.Replies = append(c.fx.Replies, Reply{ID: submit, Result: result, Err: err})
}

// answerRound answers whoever waited for what has come.
func (c *Core) answerRound(r *round) {
	var met bool
	slices.Sort(r.regions[1:])
	r.asks = slices.DeleteFunc(r.asks, func(a gatherAsk) bool {
		ok := a.quorum.Met(r.regions)
		if ok {
			c.reply(a.submit, Gathered{Regions: slices.Clone(a.quorum.Counted(r.regions)), Have: r.have}, nil)
			c.gatherer.asks--
			met = true
		}
		return ok
	})
	if met {
		c.fetch(r.have)
	}
}

// expireGathers gives up what has taken too long, and forgets what is done.
func (c *Core) expireGathers() {
	s := &c.gatherer
	s.rounds = slices.DeleteFunc(s.rounds, func(r *round) bool {
		r.asks = slices.DeleteFunc(r.asks, func(a gatherAsk) bool {
			if c.uptime < a.deadline {
				return false
			}
			told := slices.Clone(a.quorum.Counted(r.regions))
			c.reply(a.submit, Gathered{Regions: told}, fmt.Errorf("%w: in time only %s did", ErrNoQuorum, strings.Join(told, ", ")))
			s.asks--
			return true
		})
		return len(r.asks) == 0
	})
	n := 0
	for n < len(s.routes) && c.uptime-s.routes[n].at > routeAge {
		delete(s.byKey, s.routes[n].key)
		n++
	}
	s.routes = slices.Delete(s.routes, 0, n)
}

// sendQueries sends the queries and answers of this step, and those that are due again.
func (c *Core) sendQueries() {
	s := &c.gatherer
	for _, r := range s.rounds {
		if !r.sent || c.uptime >= r.again {
			r.sent, r.again = true, c.uptime+awaitEvery
			c.spread(wire.VectorQuery{Origin: c.cfg.Region, Session: s.session, ID: r.id}, c.cfg.Region, "")
		}
	}
	for i, m := range s.pass {
		c.passQuery(m, s.via[i])
	}
	for _, r := range s.replies {
		c.send(r.peer, wire.VectorReply{Session: r.key.session, ID: r.key.id, RegionAck: wire.RegionAck{
			Region: c.cfg.Region, Replica: c.replica, Seq: c.sync.reportSeq, Have: c.have,
		}})
	}
	s.pass, s.via, s.replies = nil, nil, nil
}

// passQuery passes a query on and remembers where its answers go.
func (c *Core) passQuery(m wire.VectorQuery, from string) {
	s, key := &c.gatherer, queryKey{m.Session, m.ID}
	if _, again := s.byKey[key]; !again && len(s.routes) >= maxRoutes {
		return
	}
	if !c.spread(m, m.Origin, from) {
		return
	}
	if _, again := s.byKey[key]; !again {
		s.byKey[key] = from
		s.routes = append(s.routes, route{key, from, c.uptime})
	}
}

func (c *Core) receiveQuery(p *peer, m wire.VectorQuery) {
	s, key := &c.gatherer, queryKey{m.Session, m.ID}
	if c.peers[m.Origin] == nil {
		return
	}
	if from, ok := s.byKey[key]; ok && from != p.name {
		return // it goes round in circles
	}
	s.replies = append(s.replies, outgoingReply{p.name, key})
	s.pass, s.via = append(s.pass, m), append(s.via, p.name)
}

func (c *Core) receiveReply(p *peer, m wire.VectorReply) {
	if c.peers[m.Region] == nil {
		return
	}
	c.receiveAck(p.name, &m.RegionAck)
	s := &c.gatherer
	if m.Session != s.session {
		if to, ok := s.byKey[queryKey{m.Session, m.ID}]; ok && to != p.name && c.peers[to].speaks(versionQuorum) {
			c.send(to, m)
		}
		return
	}
	i, ok := slices.BinarySearchFunc(s.rounds, m.ID, func(r *round, id uint64) int {
		return int(min(max(int64(r.id)-int64(id), -1), 1))
	})
	if !ok || slices.Contains(s.rounds[i].regions, m.Region) {
		return
	}
	r := s.rounds[i]
	r.regions, r.have = append(r.regions, m.Region), r.have.Join(m.Have)
	c.answerRound(r)
}
