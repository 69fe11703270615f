package core_test

import (
	"slices"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

func TestI12_LogThatAStoreMustHave(t *testing.T) {
	r := crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80}
	upTo := func(seq uint64) crdt.Vector {
		if seq == 0 {
			return crdt.Vector{}
		}
		return crdt.Vector{}.With(crdt.Dot{Replica: r, Seq: seq})
	}
	snapshot := func(base uint64) *core.DurableSnapshot { return &core.DurableSnapshot{Base: upTo(base)} }
	clearing := func(base uint64) *core.DurableSnapshot {
		return &core.DurableSnapshot{Clearing: true, Base: upTo(base)}
	}
	for name, c := range map[string]struct {
		cut, have uint64
		snapshot  *core.DurableSnapshot
		want      []uint64 // from and to of each span
	}{
		"never cut":                        {0, 7, nil, []uint64{1, 7}},
		"cut":                              {4, 7, nil, []uint64{5, 7}},
		"unknown":                          {0, 0, nil, nil},
		"being cleared":                    {4, 7, clearing(0), []uint64{5, 7}},
		"cleared":                          {7, 7, clearing(0), nil},
		"nothing copied":                   {7, 7, snapshot(0), nil},
		"copied from here on":              {7, 7, snapshot(9), []uint64{9, 9}},
		"the donor has no more":            {7, 7, snapshot(7), []uint64{7, 7}},
		"a replica only the donor knows":   {0, 0, snapshot(3), []uint64{3, 3}},
		"a copy was given up":              {7, 7, clearing(9), []uint64{9, 9}},
		"one was given up, of no more":     {7, 7, clearing(7), nil},
		"given up after it was replayed":   {8, 12, clearing(9), []uint64{9, 12}},
		"all is copied and some replayed":  {8, 12, &core.DurableSnapshot{Replaying: true, Base: upTo(9)}, []uint64{9, 12}},
		"all is copied, nothing to replay": {8, 9, &core.DurableSnapshot{Replaying: true, Base: upTo(9)}, []uint64{9, 9}},
	} {
		d := core.Durable{Have: upTo(c.have), Cut: upTo(c.cut), Snapshot: c.snapshot}
		var got []uint64
		for _, s := range d.Log(r) {
			got = append(got, s.From, s.To)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
