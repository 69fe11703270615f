package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A region remembers the requests that were made under an idempotency key: for
// each a record with the answer, and an entry by the time at which it expires.
// Both come from the change itself, wherever it was made, so a repetition is
// known in every region that holds the change, and after every restart.

// Errors of requests under an idempotency key.
var (
	// ErrKeyReused: the key was given with another request before (HTTP 422).
	ErrKeyReused = errors.New("idempotency key was used for another request")
	// ErrKeysFull: as many keys are remembered as may be (HTTP 429).
	ErrKeysFull = errors.New("too many idempotency keys")
)

const (
	// requestSweep and requestSweepItems bound the work of forgetting.
	requestSweep      = time.Second
	requestSweepItems = 512
	// maxRepeats is how many requests that were carried out twice are told of.
	maxRepeats = 64
)

// A RequestID names a client's request under an idempotency key. The zero
// RequestID is a request without one.
type RequestID struct {
	// Key is a hash of the client and its key, Body one of all that it asks.
	Key, Body crdt.RequestHash
}

func (q RequestID) isZero() bool { return q == RequestID{} }

// Names of meta records.
const (
	requestState   = "i/state"
	requestRepeats = "i/twice"
	requestPrefix  = "i/k/" // and the key: requestRecord
	expiryPrefix   = "i/t/" // milliseconds, big endian, and the key
)

func requestName(key crdt.RequestHash) string { return requestPrefix + string(key[:]) }

func expiryName(ms uint64, key crdt.RequestHash) string {
	return expiryPrefix + string(binary.BigEndian.AppendUint64(nil, ms)) + string(key[:])
}

// A requestRecord is what is remembered of a request.
type requestRecord struct {
	body    crdt.RequestHash
	expires uint64 // milliseconds
	dot     crdt.Dot
	stamp   crdt.Stamp
	docs    []requestDoc
}

type requestDoc struct {
	collection crdt.Dot
	id         string
	crdt.RequestDoc
}

const requestFormat = 1

func (q *requestRecord) encode() []byte {
	b := append([]byte{requestFormat}, q.body[:]...)
	b = binary.AppendUvarint(b, q.expires)
	b = appendDot(b, q.dot)
	b = binary.AppendUvarint(b, uint64(q.stamp))
	b = binary.AppendUvarint(b, uint64(len(q.docs)))
	for i := range q.docs {
		d := &q.docs[i]
		b = appendDot(b, d.collection)
		b = binary.AppendUvarint(b, uint64(len(d.id)))
		b = append(b, d.id...)
		b = append(b, boolByte(d.Created)|boolByte(d.Exists)<<1)
		b = append(b, d.Heads[:]...)
	}
	return b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendDot(b []byte, d crdt.Dot) []byte {
	return binary.AppendUvarint(append(b, d.Replica[:]...), d.Seq)
}

func decodeRequest(b []byte) (*requestRecord, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); r.Err() == nil && f != requestFormat {
		r.Fail("a request of an unknown format")
	}
	q := &requestRecord{
		body: crdt.RequestHash(r.Fixed(crdt.RequestHashSize)), expires: r.Uvarint(),
		dot: r.Dot(), stamp: crdt.Stamp(r.Uvarint()),
	}
	n := r.Count(crdt.MaxMutations, crdt.HeadsHashSize)
	for range n {
		d := requestDoc{collection: r.Dot(), id: string(r.Bytes(crdt.MaxIDBytes))}
		flags := r.Byte()
		d.Created, d.Exists = flags&1 != 0, flags&2 != 0
		d.Heads = [crdt.HeadsHashSize]byte(r.Fixed(crdt.HeadsHashSize))
		q.docs = append(q.docs, d)
	}
	return q, r.Done()
}

// A Repeat is a request that was carried out twice: in two regions, neither of
// which knew of the other.
type Repeat struct {
	// Collection and ID are the document of the first, or the first document of its batch.
	Collection crdt.Dot
	ID         string
	// First is the change that this region knew first, Second the other one.
	First, Second           crdt.Dot
	FirstStamp, SecondStamp crdt.Stamp
	// SameBody is false if one key was used for two different requests.
	SameBody bool
}

func (p *Repeat) append(b []byte) []byte {
	b = appendDot(b, p.Collection)
	b = binary.AppendUvarint(b, uint64(len(p.ID)))
	b = append(b, p.ID...)
	b = appendDot(appendDot(b, p.First), p.Second)
	b = binary.AppendUvarint(b, uint64(p.FirstStamp))
	b = binary.AppendUvarint(b, uint64(p.SecondStamp))
	return append(b, boolByte(p.SameBody))
}

func readRepeat(r *crdt.Reader) Repeat {
	return Repeat{
		Collection: r.Dot(), ID: string(r.Bytes(crdt.MaxIDBytes)), First: r.Dot(), Second: r.Dot(),
		FirstStamp: crdt.Stamp(r.Uvarint()), SecondStamp: crdt.Stamp(r.Uvarint()), SameBody: r.Byte() == 1,
	}
}

// RequestStatus tells of the requests under idempotency keys.
type RequestStatus struct {
	// Keys is how many are remembered, Bytes what they take.
	Keys  uint64
	Bytes uint64
	// Twice counts those that were carried out twice, Repeats are the latest of them.
	Twice   uint64
	Repeats []Repeat
}

// Requests tells of the requests under idempotency keys.
func (c *Core) Requests() RequestStatus { return c.requests.status }

// requests is what a core remembers of requests.
type requests struct {
	status RequestStatus
	dirty  bool
	next   time.Duration // uptime at which to look for what has expired
}

func loadRequests(r store.Reader) (q requests, err error) {
	b, err := r.Meta(requestState)
	if err != nil || b == nil {
		return q, err
	}
	in := crdt.NewReader(b)
	if f := in.Byte(); f != requestFormat {
		return q, fmt.Errorf("%w: requests of format %d", crdt.ErrCorrupt, f)
	}
	q.status.Keys, q.status.Bytes, q.status.Twice = in.Uvarint(), in.Uvarint(), in.Uvarint()
	if err := in.Done(); err != nil || q.status.Twice == 0 {
		return q, err
	}
	if b, err = r.Meta(requestRepeats); err != nil {
		return q, err
	}
	in = crdt.NewReader(b)
	for len(in.Rest()) > 0 {
		q.status.Repeats = append(q.status.Repeats, readRepeat(in))
	}
	return q, in.Done()
}

func (c *Core) meta(name string) ([]byte, error) {
	if v, ok := c.batch.Meta[name]; ok {
		return v, nil
	}
	v, err := c.reader.Meta(name)
	if err != nil {
		return nil, storeError(err)
	}
	return v, nil
}

func (c *Core) putMeta(name string, v []byte) {
	if c.batch.Meta == nil {
		c.batch.Meta = map[string][]byte{}
	}
	c.batch.Meta[name] = v
}

// request returns what is remembered of a key, nil if nothing is.
func (c *Core) request(key crdt.RequestHash) (*requestRecord, error) {
	b, err := c.meta(requestName(key))
	if b == nil || err != nil {
		return nil, err
	}
	q, err := decodeRequest(b)
	if err != nil {
		return nil, storeError(err)
	}
	if q.expires <= c.nowMillis() {
		return nil, nil //nolint:nilnil // as good as forgotten
	}
	return q, nil
}

func (c *Core) nowMillis() uint64 { return uint64(max(c.now.UnixMilli(), 0)) }

// repeated answers a request that was carried out before. It reports false if
// this is the first time.
func (c *Core) repeated(id RequestID, await time.Duration) (Receipt, bool, error) {
	if id.isZero() {
		return Receipt{}, false, nil
	}
	q, err := c.request(id.Key)
	if err != nil {
		return Receipt{}, false, err
	}
	if q == nil {
		s := &c.requests.status
		if s.Keys >= uint64(c.cfg.Limits.Requests) || s.Bytes >= uint64(c.cfg.Limits.RequestBytes) {
			return Receipt{}, false, fmt.Errorf("%w: %d keys with %d bytes are remembered, each for %v", ErrKeysFull, s.Keys, s.Bytes, c.cfg.Limits.RequestAge)
		}
		return Receipt{}, false, nil
	}
	if q.body != id.Body {
		return Receipt{}, false, fmt.Errorf("%w, which made change %v", ErrKeyReused, q.dot)
	}
	if await > 0 {
		c.await(crdt.VectorOf(q.dot), await, true)
	}
	r := Receipt{Dot: q.dot, Stamp: q.stamp, Have: c.have, Repeated: true, Docs: make([]DocReceipt, len(q.docs))}
	for i := range q.docs {
		d := &q.docs[i]
		r.Docs[i] = DocReceipt{
			Collection: c.catalog.byDot[d.collection], ID: d.id,
			Tag: crdt.TagOf(d.Heads), Exists: d.Exists, Created: d.Created,
		}
	}
	return r, true, nil
}

// answerTo is what a change that is about to be made will answer to its request.
func answerTo(id RequestID, ch *crdt.Change, targets []target) *crdt.Request {
	if id.isZero() {
		return nil
	}
	q := &crdt.Request{Key: id.Key, Body: id.Body, Docs: make([]crdt.RequestDoc, len(targets))}
	for i := range targets {
		heads := targets[i].entry.state.Heads().Clone()
		heads.Apply(ch.Header, ch.Mutations[i])
		visible := heads.Visible()
		q.Docs[i] = crdt.RequestDoc{
			Heads: crdt.HeadsHash(heads.Dots()), Exists: visible, Created: visible && !targets[i].before,
		}
	}
	return q
}

// remember keeps the request of a change that becomes part of the batch. If
// another change was made for it, the one that was known here first stays the answer.
func (c *Core) remember(ch *crdt.Change) error {
	if ch.Request == nil {
		return nil
	}
	known, err := c.request(ch.Request.Key)
	if err != nil {
		return err
	}
	if known != nil {
		if known.dot != ch.Dot {
			c.twice(ch, known)
		}
		return nil
	}
	// By the stamp, so that what is fetched anew is not remembered anew; but a
	// clock that is ahead must not keep it for longer.
	expires := min(uint64(max(ch.Stamp.Time().UnixMilli(), 0)), c.nowMillis()) + uint64(c.cfg.Limits.RequestAge.Milliseconds())
	if expires <= c.nowMillis() {
		return nil
	}
	q := requestRecord{body: ch.Request.Body, expires: expires, dot: ch.Dot, stamp: ch.Stamp}
	for i := range ch.Mutations {
		m := &ch.Mutations[i]
		q.docs = append(q.docs, requestDoc{m.Collection, m.ID, ch.Request.Docs[i]})
	}
	b := q.encode()
	if old, err := c.meta(requestName(ch.Request.Key)); err != nil {
		return err
	} else if old != nil { // it has expired
		c.count(old, -1)
	}
	c.putMeta(requestName(ch.Request.Key), b)
	c.putMeta(expiryName(expires, ch.Request.Key), []byte{requestFormat})
	c.count(b, 1)
	c.cost += len(b)
	return nil
}

// installRequest takes what another region remembers of a request, unless it is
// known here. What is no such record is passed over: it answers nobody.
func (c *Core) installRequest(m *wire.RequestRecord) error {
	q, err := decodeRequest(m.Record)
	if err != nil || q.expires <= c.nowMillis() || q.expires > c.nowMillis()+uint64(c.cfg.Limits.RequestAge.Milliseconds()) {
		return nil //nolint:nilerr // see above
	}
	if old, err := c.meta(requestName(m.Key)); err != nil || old != nil {
		return err
	}
	c.putMeta(requestName(m.Key), bytes.Clone(m.Record))
	c.putMeta(expiryName(q.expires, m.Key), []byte{requestFormat})
	c.count(m.Record, 1)
	c.cost += len(m.Record)
	return nil
}

func (c *Core) count(record []byte, n int) {
	s := &c.requests.status
	s.Keys += uint64(n)
	s.Bytes += uint64(n * len(record))
	c.requests.dirty = true
}

// twice reports a request that was carried out in two regions.
func (c *Core) twice(ch *crdt.Change, first *requestRecord) {
	p := Repeat{
		First: first.dot, FirstStamp: first.stamp, Second: ch.Dot, SecondStamp: ch.Stamp,
		SameBody: first.body == ch.Request.Body,
	}
	if len(first.docs) > 0 {
		p.Collection, p.ID = first.docs[0].collection, first.docs[0].id
	}
	s := &c.requests.status
	s.Twice++
	// Readers have the old slice.
	s.Repeats = append(slices.Clone(s.Repeats), p)
	s.Repeats = s.Repeats[max(len(s.Repeats)-maxRepeats, 0):]
	var b []byte
	for i := range s.Repeats {
		b = s.Repeats[i].append(b)
	}
	c.putMeta(requestRepeats, b)
	c.requests.dirty = true
	c.note(true, "a request was carried out twice under one idempotency key", "id", p.ID,
		"first", p.First, "in", c.catalog.Region(p.First.Replica), "second", p.Second, "and", c.catalog.Region(p.Second.Replica),
		"same", p.SameBody)
}

// forgetRequests drops what has expired.
func (c *Core) forgetRequests() error {
	q := &c.requests
	if q.status.Keys == 0 || c.uptime < q.next {
		return nil
	}
	q.next = c.uptime + requestSweep
	n := 0
	for e, err := range c.reader.MetaRange(expiryPrefix, "") {
		if err != nil {
			return storeError(err)
		}
		at := []byte(e.Name[len(expiryPrefix):])
		if len(at) != 8+crdt.RequestHashSize {
			return storeError(fmt.Errorf("%w: the record %q", crdt.ErrCorrupt, e.Name))
		}
		if binary.BigEndian.Uint64(at) > c.nowMillis() {
			break
		}
		if n++; n > requestSweepItems {
			q.next = c.uptime // there may be more
			break
		}
		c.putMeta(e.Name, nil)
		key := crdt.RequestHash(at[8:])
		b, err := c.meta(requestName(key))
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		r, err := decodeRequest(b)
		if err != nil {
			return storeError(err)
		}
		if r.expires <= c.nowMillis() { // else the key was used again since
			c.putMeta(requestName(key), nil)
			c.count(b, -1)
		}
	}
	return nil
}

// saveRequests puts what is counted into the batch.
func (c *Core) saveRequests() {
	q := &c.requests
	if !q.dirty {
		return
	}
	q.dirty = false
	b := []byte{requestFormat}
	b = binary.AppendUvarint(b, q.status.Keys)
	b = binary.AppendUvarint(b, q.status.Bytes)
	b = binary.AppendUvarint(b, q.status.Twice)
	c.putMeta(requestState, b)
}
