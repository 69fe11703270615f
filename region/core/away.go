package core

import "time"

// A member that is away keeps the log of the others from being cut, and what was
// deleted from being forgotten (I12), so an operator should know well before the
// disk is full.

// DefaultAway is the default of Timing.Away.
const DefaultAway = time.Hour

// warnAway says of members that were not heard for long what that costs, once in
// each Timing.Away.
func (c *Core) warnAway() {
	limit := c.cfg.Timing.Away
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if c.away(p) == 0 {
			p.warned = 0
			continue
		}
		if p.warned == 0 || c.uptime-p.warned >= limit {
			p.warned = c.uptime
			c.note(true, "a region was not heard for long: the log is kept for it and grows, and what is deleted is not forgotten",
				"peer", name, "if_gone_for_good", "meridian region remove "+name, "away", c.away(p).Round(time.Second), "log", c.logStatus().Changes)
		}
	}
}

// away is for how long a peer was not heard, over any path and since the start;
// 0 if that is not long.
func (c *Core) away(p *peer) time.Duration {
	if d := c.uptime - p.newsAt; d >= c.cfg.Timing.Away {
		return d
	}
	return 0
}
