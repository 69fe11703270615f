package collab

import (
	"testing"
)

// FuzzDecode: no frame of a client makes the decoder panic, and what it takes is
// within its bounds and can be passed on.
func FuzzDecode(f *testing.F) {
	for _, m := range []message{
		{Type: typeJoin, SenderID: "a", PeerMetadata: &peerMetadata{StorageID: "s", IsEphemeral: true}, Supported: []string{protocolVersion1}},
		{Type: typeSync, SenderID: "a", TargetID: "b", DocumentID: "d", Data: []byte{0x42, 0, 0, 0, 0}},
		{Type: typeEphemeral, SenderID: "a", TargetID: "b", SessionID: "x", Count: []byte{7}, DocumentID: "d", Data: []byte{1}},
		{Type: typeSubscribe, SenderID: "a", TargetID: "b", Add: []string{"s"}, Remove: []string{"t"}},
		{Type: typeRemoteHeads, SenderID: "a", TargetID: "b", DocumentID: "d", NewHeads: map[string]remoteHeads{"s": {Heads: []string{"h"}, Timestamp: 1}}},
	} {
		b, err := encoding.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if len(m.SenderID) > maxName || len(m.TargetID) > maxName || len(m.SessionID) > maxName || len(m.Add) > maxEntries {
			t.Fatalf("beyond the bounds: %+v", m)
		}
		again, err := encoding.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Fatalf("%x is passed on as %x: %v", b, again, err)
		}
	})
}
