package validate

// A SyncMessage is a message of the sync protocol, version 1.
type SyncMessage struct {
	Heads []Hash // of the sender
	Need  []Hash // changes that the sender asks for
	Have  []SyncHave
	// Changes are checked for themselves; [Index] checks them against the history.
	Changes []*Change
}

// SyncHave says what the sender has since it last synchronised.
type SyncHave struct {
	LastSync []Hash
	Bloom    []byte // a checked Bloom filter, or empty
}

const (
	syncType = 0x42
	maxHaves = 16
	maxNeeds = 1 << 16
	// What the protocol fixes; other numbers are refused, since they only serve
	// to make the other side count.
	bloomBits   = 10
	bloomProbes = 7
	maxBloom    = 1 << 20 // entries
)

// ParseSync reads a message. What comes after the parts of version 1 (newer
// versions append their capabilities) is left out.
func ParseSync(b []byte, l Limits) (*SyncMessage, error) {
	l = l.orDefault()
	if len(b) > l.Message {
		return nil, tooLarge("a message of %d bytes, at most %d are allowed", len(b), l.Message)
	}
	r := &reader{b: b}
	if t := r.take(1); r.err != nil || t[0] != syncType {
		return nil, invalid("not a sync message of version 1")
	}
	m := &SyncMessage{Heads: r.hashes(maxDeps), Need: r.hashes(maxNeeds)}
	for range r.size(maxHaves) {
		h := SyncHave{LastSync: r.hashes(maxDeps), Bloom: r.bytes(len(b))}
		if r.err == nil {
			r.err = checkBloom(h.Bloom)
		}
		if r.err != nil {
			return nil, r.err
		}
		m.Have = append(m.Have, h)
	}
	n := r.size(l.Changes)
	ops, size := 0, 0
	for range n {
		chunk := r.bytes(len(b))
		if r.err != nil {
			break
		}
		c, err := ParseChange(chunk, l)
		if err != nil {
			return nil, err
		}
		ops, size = ops+len(c.Ops), size+len(c.Raw)
		if ops > l.Ops || size > 4*l.Inflated {
			return nil, tooLarge("more than %d operations or %d bytes in a message", l.Ops, 4*l.Inflated)
		}
		m.Changes = append(m.Changes, c)
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

func checkBloom(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	r := &reader{b: b}
	entries, bits, probes := r.size(maxBloom), r.uleb(), r.uleb()
	if r.err != nil {
		return r.err
	}
	if entries == 0 || bits != bloomBits || probes != bloomProbes || len(r.b) != (entries*bloomBits+7)/8 {
		return invalid("a Bloom filter with other parameters than %d bits and %d probes an entry", bloomBits, bloomProbes)
	}
	return nil
}

// Append writes the message, with its changes or without.
func (m *SyncMessage) Append(b []byte, changes bool) []byte {
	appendHashes := func(hs []Hash) {
		b = appendUleb(b, uint64(len(hs)))
		for _, h := range hs {
			b = append(b, h[:]...)
		}
	}
	b = append(b, syncType)
	appendHashes(m.Heads)
	appendHashes(m.Need)
	b = appendUleb(b, uint64(len(m.Have)))
	for _, h := range m.Have {
		appendHashes(h.LastSync)
		b = appendBytes(b, h.Bloom)
	}
	if !changes {
		return appendUleb(b, 0)
	}
	b = appendUleb(b, uint64(len(m.Changes)))
	for _, c := range m.Changes {
		b = appendBytes(b, c.Raw)
	}
	return b
}
