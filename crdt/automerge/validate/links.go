package validate

// Links is where a change stands in a history.
type Links struct {
	Hash  Hash
	Deps  []Hash // ascending
	Actor []byte // in the chunk's memory, as Raw
	Seq   uint64
	Raw   []byte // its chunk
}

// ReadLinks reads where the changes of some chunks stand, without looking at
// their operations. It is for chunks that were checked before: only the checksum
// is checked again.
func ReadLinks(chunks []byte) ([]Links, error) {
	var out []Links
	for len(chunks) > 0 {
		typ, contents, rest, h, err := openChunk(chunks, len(chunks))
		if err != nil {
			return nil, err
		}
		r := &reader{b: contents}
		l := Links{Hash: h, Deps: r.ascending(maxDeps), Actor: r.bytes(maxActor), Seq: r.uleb(), Raw: chunks[:len(chunks)-len(rest)]}
		if typ != chunkChange {
			r.fail("a document where a change is needed")
		}
		if r.err != nil {
			return nil, r.err
		}
		out = append(out, l)
		chunks = rest
	}
	return out, nil
}
