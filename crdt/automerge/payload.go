package automerge

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// payloadFormat is the format of a mutation's payload: a count, and so many
// changes, each with its length.
const payloadFormat = 1

func encodePayload(cs []*validate.Change) []byte {
	size := 8
	for _, c := range cs {
		size += len(c.Raw) + binary.MaxVarintLen32
	}
	b := append(make([]byte, 0, size), payloadFormat)
	b = binary.AppendUvarint(b, uint64(len(cs)))
	for _, c := range cs {
		b = binary.AppendUvarint(b, uint64(len(c.Raw)))
		b = append(b, c.Raw...)
	}
	return b
}

// decodePayload reads what encodePayload writes, and checks each change for
// itself: what a peer sends must not kill the process either.
func decodePayload(b []byte) ([]*validate.Change, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); r.Err() == nil && f != payloadFormat {
		return nil, corrupt("payload format %d is not known here", f)
	}
	cs := make([]*validate.Change, 0, 1)
	for range r.Count(peerLimits.Changes, 1) {
		raw := r.Bytes(crdt.MaxChangeBytes)
		if r.Err() != nil {
			break
		}
		c, err := validate.ParseChange(raw, peerLimits)
		if err != nil {
			return nil, corrupt("a change: %v", err)
		}
		cs = append(cs, c)
	}
	return cs, r.Done()
}

// Changes are those of a mutation's payload as Automerge saves them, one behind
// the other: what EditImport takes.
func Changes(payload []byte) ([]byte, error) {
	cs, err := decodePayload(payload)
	if err != nil {
		return nil, err
	}
	var raw []byte
	for _, c := range cs {
		raw = append(raw, c.Raw...)
	}
	return raw, nil
}
