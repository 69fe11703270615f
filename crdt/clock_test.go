package crdt_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
)

// TestI11_StampsOutdoWhatTheyHaveSeen runs a clock against a wall clock that
// jumps by hours, either way, and peers whose clocks do as well.
func TestI11_StampsOutdoWhatTheyHaveSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		skew := time.Duration(rapid.IntRange(0, 120).Draw(t, "skew")) * time.Second
		wall := time.UnixMilli(1_700_000_000_000)
		c := crdt.NewClock(skew, crdt.Stamp(rapid.Uint64().Draw(t, "restored")))
		drawStamp := func(name string) crdt.Stamp {
			at := wall.Add(time.Duration(rapid.IntRange(-20_000, 20_000).Draw(t, name)) * time.Second)
			return crdt.StampAt(at) + crdt.Stamp(rapid.IntRange(0, math.MaxUint16).Draw(t, name+" logical"))
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "do") {
			case 0:
				wall = wall.Add(time.Duration(rapid.IntRange(-10, 10).Draw(t, "hours")) * time.Hour)
			case 1:
				wall = wall.Add(time.Duration(rapid.IntRange(0, 2_000).Draw(t, "millis")) * time.Millisecond)
			case 2:
				s := drawStamp("observed")
				over := c.Observe(wall, s)
				if want := max(0, s.Time().Sub(wall.Add(skew))); over != want {
					t.Fatalf("a stamp %v beyond the bound is reported as %v", want, over)
				}
				if over == 0 && c.Last() < s {
					t.Fatalf("the clock at %v does not follow %v", c.Last(), s)
				}
			default:
				seen := crdt.Stamp(0)
				if rapid.Bool().Draw(t, "sees") {
					seen = drawStamp("seen")
				}
				s := c.Next(wall, seen)
				if s <= seen {
					t.Fatalf("stamp %v, having seen %v", s, seen)
				}
				if s < crdt.StampAt(wall) {
					t.Fatalf("stamp %v is behind the wall clock", s)
				}
				if s.Time().After(wall.Add(skew+time.Millisecond)) && s.Time().After(seen.Time().Add(time.Millisecond)) {
					t.Fatalf("stamp %v is ahead of wall clock %v and of all it has seen, %v", s, wall, seen)
				}
			}
			if rapid.Bool().Draw(t, "restart") {
				c = crdt.NewClock(skew, c.Last())
			}
			if wasUsed := c.Next(wall, 0); wasUsed.Time().After(wall.Add(skew + time.Millisecond)) {
				t.Fatalf("the clock is at %v, the wall clock at %v", wasUsed, wall)
			}
			if c.Last().Time().After(wall.Add(skew)) {
				t.Fatalf("state %v is beyond the bound", c.Last())
			}
		}
		// Not stuck: once the wall clock runs on, stamps follow it.
		for range 3 {
			wall = wall.Add(skew + time.Second)
			if s := c.Next(wall, 0); s != crdt.StampAt(wall) {
				t.Fatalf("stamp %v at %v: the clock is stuck", s, wall)
			}
		}
	})
}

func TestStampsOfOneMillisecondAreApart(t *testing.T) {
	wall := time.UnixMilli(1_700_000_000_000)
	for _, restored := range []crdt.Stamp{0, crdt.StampAt(wall.Add(time.Hour))} {
		c := crdt.NewClock(time.Second, restored)
		last := crdt.Stamp(0)
		for range 10_000 {
			s := c.Next(wall, 0)
			if s <= last {
				t.Fatalf("stamp %v after %v", s, last)
			}
			last = s
		}
	}
}

func TestStampFromFarAheadDragsNoOthersAlong(t *testing.T) {
	wall := time.UnixMilli(1_700_000_000_000)
	c := crdt.NewClock(time.Second, 0)
	ahead := crdt.StampAt(wall.Add(time.Hour))
	if over := c.Observe(wall, ahead); over != time.Hour-time.Second {
		t.Errorf("reported %v", over)
	}
	if s := c.Next(wall, ahead); s != ahead+1 {
		t.Errorf("over it: %v, want %v", s, ahead+1)
	}
	if s := c.Next(wall, 0); s.Time().After(wall) {
		t.Errorf("elsewhere: %v, want %v", s, wall)
	}
}

func TestStampsAtTheEnds(t *testing.T) {
	if s := crdt.StampAt(time.Unix(-5, 0)); s != 0 {
		t.Errorf("before 1970: %v", s)
	}
	last := crdt.Stamp(math.MaxUint64)
	if s := crdt.StampAt(time.Date(30_000, 1, 1, 0, 0, 0, 0, time.UTC)); s.Time() != last.Time() {
		t.Errorf("far future: %v, want %v", s, last)
	}
	c := crdt.NewClock(time.Second, 0)
	if s := c.Next(time.UnixMilli(0), last); s != last {
		t.Errorf("after the last stamp: %v", s)
	}
	if s := crdt.StampAt(time.UnixMilli(1_700_000_000_123)); s.String() != "2023-11-14T22:13:20.123Z" || (s+7).String() != "2023-11-14T22:13:20.123Z+7" {
		t.Errorf("text: %v, %v", s, s+7)
	}
}
