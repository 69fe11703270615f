package conflict

import (
	"fmt"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
)

// newer explains why the first version is shown by its age.
func newer(versions []Version, first, second int) string {
	clock := clockOf(versions)
	f := &versions[first]
	if second < 0 {
		return describe(f, clock) + " is the only version"
	}
	s := &versions[second]
	switch {
	case f.Stamp == s.Stamp && f.Dot.Replica != s.Dot.Replica:
		return fmt.Sprintf("%s and %s carry the same time, and the greater replica id decides; %s",
			describe(f, clock), other(f, s, clock), unseen(versions))
	case f.Stamp == s.Stamp:
		return fmt.Sprintf("%s and %s carry the same time, and the later one is shown; %s",
			describe(f, clock), other(f, s, clock), unseen(versions))
	case len(versions) > 2:
		return fmt.Sprintf("%s is the newest of %d, before %s; %s",
			describe(f, clock), len(versions), other(f, s, clock), unseen(versions))
	}
	return fmt.Sprintf("%s is newer than %s; %s", describe(f, clock), other(f, s, clock), unseen(versions))
}

func unseen(versions []Version) string {
	if len(versions) > 2 {
		return "none had seen another"
	}
	return "neither had seen the other"
}

// name is the region of a version, or its replica if the region is not known.
func name(v *Version) string {
	if v.Region == "" {
		return "replica " + v.Dot.Replica.String()
	}
	return v.Region
}

func describe(v *Version, c clock) string {
	what := "write"
	if v.Deleted {
		what = "deletion"
	}
	return fmt.Sprintf("%s's %s at %s", name(v), what, c.format(v.Stamp))
}

// other describes a second version, without repeating what it was.
func other(f, v *Version, c clock) string {
	if f.Deleted != v.Deleted {
		return describe(v, c)
	}
	return fmt.Sprintf("%s's at %s", name(v), c.format(v.Stamp))
}

// A clock writes times as short as the versions at hand allow.
type clock struct{ date, logical bool }

// clockOf says what tells the versions' times apart: the date unless all are of
// one day, and the logical part where two are of one millisecond.
func clockOf(versions []Version) clock {
	var c clock
	millis := map[int64]crdt.Stamp{}
	day := versions[0].Stamp.Time().Format(dayFormat)
	for i := range versions {
		s := versions[i].Stamp
		c.date = c.date || s.Time().Format(dayFormat) != day
		other, same := millis[s.Time().UnixMilli()]
		c.logical = c.logical || same && other != s
		millis[s.Time().UnixMilli()] = s
	}
	return c
}

const (
	dayFormat  = "2006-01-02"
	timeFormat = "15:04:05.000"
)

func (c clock) format(s crdt.Stamp) string {
	out := s.Time().Format(timeFormat)
	if c.date {
		out = s.Time().Format(dayFormat + " " + timeFormat)
	}
	if c.logical {
		out += "+" + strconv.Itoa(int(s.Logical()))
	}
	return out
}
