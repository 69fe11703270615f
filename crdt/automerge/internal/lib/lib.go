// Package lib binds the few functions of the Automerge C library that Meridian
// needs. What is given to it must have been validated: the library aborts the
// process on some malformed input, and then there is no panic to recover from.
//
// The memory of a [Doc] is the library's own, which Go's garbage collector does
// not see; [Doc.Free] gives it back. Nothing here has a finalizer. A Doc is not
// safe for concurrent use, different ones are independent.
package lib

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	// Links the library; its Go API is not used.
	_ "github.com/automerge/automerge-go"
)

// ErrLibrary is a call that the library refused.
var ErrLibrary = errors.New("the Automerge library failed")

// HashSize is the size of a change's hash.
const HashSize = 32

// A Doc is a document in the library's memory.
type Doc struct {
	result *C.AMresult
	doc    *C.AMdoc
	kept   []*C.AMresult // of objects that were made by the open transaction
	reads  []*C.children // of objects that were read
}

// An Object names a map, list or text of a document, until its Release. The
// zero Object is the root.
type Object struct{ id *C.AMobjId }

// Kind is what a value is.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	Bool
	Int
	Uint
	Float
	String
	Bytes
	Counter
	Time
	Map
	List
	Text
	Unknown
)

// An Item is one of the values that a place holds.
type Item struct {
	Ctr    uint64 // with Actor: the id of the operation that set it
	Actor  string
	Kind   Kind
	Int    int64 // of Bool (0 or 1), Int, Counter, Time
	Uint   uint64
	Float  float64
	Str    string // of String, Bytes and Text
	Object Object // of Map, List and Text
}

// An Entry is a place in a map or list.
type Entry struct {
	Key   string
	Items []Item // as Automerge orders them; the last one is what it shows
}

func span(b []byte) C.AMbyteSpan {
	return C.AMbyteSpan{src: (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))), count: C.size_t(len(b))}
}

// goBytes copies a span.
func goBytes(s C.AMbyteSpan) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(s.src)), int(s.count))...)
}

func failure(r *C.AMresult) error {
	if C.AMresultStatus(r) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrLibrary, goBytes(C.AMresultError(r)))
}

// finish frees a result that is of no use but for its status.
func finish(r *C.AMresult) error {
	err := failure(r)
	C.AMresultFree(r)
	return err
}

func newDoc(r *C.AMresult) (*Doc, error) {
	if err := failure(r); err != nil {
		C.AMresultFree(r)
		return nil, err
	}
	d := &Doc{result: r, doc: C.bridge_doc(r)}
	if d.doc == nil {
		C.AMresultFree(r)
		return nil, fmt.Errorf("%w: no document", ErrLibrary)
	}
	return d, nil
}

// New returns an empty document.
func New() (*Doc, error) { return newDoc(C.AMcreate(nil)) }

// Load reads a saved document: one that Save returned, in this process or another.
func Load(b []byte) (*Doc, error) {
	if len(b) == 0 {
		return New()
	}
	s := span(b)
	return newDoc(C.AMload(s.src, s.count))
}

// Free gives the memory back. The document must not be used any more.
func (d *Doc) Free() {
	d.Release()
	C.AMresultFree(d.result)
	d.result, d.doc = nil, nil
}

// Release frees what belongs to the objects that were read and made.
func (d *Doc) Release() {
	for _, r := range d.kept {
		C.AMresultFree(r)
	}
	for _, c := range d.reads {
		C.bridge_free(c)
	}
	d.kept, d.reads = d.kept[:0], d.reads[:0]
}

// Apply takes changes in, chunk after chunk. Their dependencies must be there
// or among them; the library says nothing if they are not, so ask Has.
func (d *Doc) Apply(chunks []byte) error {
	if len(chunks) == 0 {
		return nil
	}
	s := span(chunks)
	return finish(C.AMloadIncremental(d.doc, s.src, s.count))
}

// Save returns the document in its compact form.
func (d *Doc) Save() ([]byte, error) {
	r := C.AMsave(d.doc)
	defer C.AMresultFree(r)
	if err := failure(r); err != nil {
		return nil, err
	}
	b := goBytes(C.bridge_bytes(r))
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: nothing saved", ErrLibrary)
	}
	return b, nil
}

// Has reports whether the document has a change.
func (d *Doc) Has(hash [HashSize]byte) bool {
	s := span(hash[:])
	r := C.AMgetChangeByHash(d.doc, s.src, s.count)
	defer C.AMresultFree(r)
	return C.bridge_change(r) != nil
}

// Heads returns the hashes of the changes that no other depends on, ascending.
func (d *Doc) Heads() ([][HashSize]byte, error) {
	c := C.bridge_heads(d.doc)
	defer C.bridge_free(c)
	b, err := contents(c)
	if err != nil {
		return nil, err
	}
	out := make([][HashSize]byte, len(b)/HashSize)
	for i := range out {
		copy(out[i][:], b[i*HashSize:])
	}
	return out, nil
}

// Changes returns the chunks of all changes, dependencies first.
func (d *Doc) Changes() ([][]byte, error) {
	c := C.bridge_changes(d.doc)
	defer C.bridge_free(c)
	b, err := contents(c)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for r := (buffer{b}); len(r.b) > 0; {
		out = append(out, r.bytes())
	}
	return out, nil
}

// SetActor sets who makes the changes from now on.
func (d *Doc) SetActor(actor []byte) error {
	s := span(actor)
	r := C.AMactorIdFromBytes(s.src, s.count)
	defer C.AMresultFree(r)
	if err := failure(r); err != nil {
		return err
	}
	return finish(C.AMsetActorId(d.doc, C.bridge_actor(r)))
}

// Commit ends the transaction and returns its change, nil if it is empty. The
// time is in seconds.
func (d *Doc) Commit(time int64) ([]byte, error) {
	r := C.bridge_commit(d.doc, C.int64_t(time))
	defer C.AMresultFree(r)
	if err := failure(r); err != nil {
		return nil, err
	}
	hash := C.bridge_hash(r)
	if hash.count == 0 {
		return nil, nil
	}
	g := C.AMgetChangeByHash(d.doc, hash.src, hash.count)
	defer C.AMresultFree(g)
	c := C.bridge_change(g)
	if c == nil {
		return nil, fmt.Errorf("%w: no change", ErrLibrary)
	}
	return goBytes(C.AMchangeRawBytes(c)), nil
}

// Rollback drops the transaction.
func (d *Doc) Rollback() { C.AMrollback(d.doc) }

// Children reads one level of a map or list. With all set, each place shows all
// its concurrent values, otherwise the one that Automerge shows. The objects
// among them are good until Release.
func (d *Doc) Children(o Object, kind Kind, all bool) ([]Entry, error) {
	c := d.children(o, kind, all)
	entries, n, err := d.entries(c, kind)
	if err != nil || n == 0 {
		C.bridge_free(c)
		return entries, err
	}
	d.reads = append(d.reads, c)
	return entries, nil
}

// Walk is Children for a visit: the objects are good until visit returns.
func (d *Doc) Walk(o Object, kind Kind, all bool, visit func([]Entry) error) error {
	c := d.children(o, kind, all)
	defer C.bridge_free(c)
	entries, _, err := d.entries(c, kind)
	if err != nil {
		return err
	}
	return visit(entries)
}

func (d *Doc) children(o Object, kind Kind, all bool) *C.children {
	obj := C.uint8_t(C.OBJ_MAP)
	if kind == List {
		obj = C.OBJ_LIST
	}
	return C.bridge_children(d.doc, o.id, obj, C.bool(all))
}

// contents returns the buffer, which is the library's memory.
func contents(c *C.children) ([]byte, error) {
	switch {
	case c == nil || bool(c.no_memory):
		return nil, fmt.Errorf("%w: out of memory", ErrLibrary)
	case c.error != nil:
		return nil, failure(c.error)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(c.data)), int(c.size)), nil
}

// buffer reads what bridge.c writes.
type buffer struct{ b []byte }

func (r *buffer) u8() uint8 {
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *buffer) u32() int {
	v := binary.NativeEndian.Uint32(r.b)
	r.b = r.b[4:]
	return int(v)
}

func (r *buffer) u64() uint64 {
	v := binary.NativeEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes copies a span of bytes.
func (r *buffer) bytes() []byte {
	n := r.u32()
	v := append([]byte(nil), r.b[:n]...)
	r.b = r.b[n:]
	return v
}

func (r *buffer) string() string {
	n := r.u32()
	v := string(r.b[:n])
	r.b = r.b[n:]
	return v
}

// entries decodes a level; objects is how many objects are in it.
func (d *Doc) entries(c *C.children, kind Kind) (out []Entry, objects int, err error) {
	b, err := contents(c)
	if err != nil {
		return nil, 0, err
	}
	ids := unsafe.Slice(c.objects, int(c.nobjects))
	r := buffer{b}
	out = make([]Entry, r.u32())
	actor := "" // the same one most of the time
	for i := range out {
		e := &out[i]
		if kind != List {
			e.Key = r.string()
		}
		e.Items = make([]Item, r.u32())
		for k := range e.Items {
			r.item(&e.Items[k], ids, &actor)
		}
	}
	return out, len(ids), nil
}

func (r *buffer) item(it *Item, ids []*C.AMobjId, actor *string) {
	it.Ctr = r.u64()
	n := r.u32()
	if *actor != string(r.b[:n]) {
		*actor = string(r.b[:n])
	}
	r.b = r.b[n:]
	it.Actor = *actor
	it.Kind = Kind(r.u8())
	switch it.Kind {
	case Bool:
		it.Int = int64(r.u8())
	case Int, Counter, Time:
		it.Int = int64(r.u64())
	case Uint:
		it.Uint = r.u64()
	case Float:
		it.Float = math.Float64frombits(r.u64())
	case String, Bytes:
		it.Str = r.string()
	case Map, List, Text:
		it.Object = Object{ids[r.u32()]}
		if it.Kind == Text {
			it.Str = r.string()
		}
	case Null, Unknown:
	}
}

// A Place is where a value is put: a key of a map, or an index of a list.
type Place struct {
	Object Object
	Key    string
	InList bool
	Index  int
	Insert bool // before the element at Index
}

func (p *Place) key() C.AMbyteSpan { return span(unsafe.Slice(unsafe.StringData(p.Key), len(p.Key))) }

// PutScalar sets a null, bool, int64, float64, or counter.
func (d *Doc) PutScalar(p Place, kind Kind, n int64, f float64) error {
	i, ins, o, c := C.size_t(p.Index), C.bool(p.Insert), p.Object.id, C.int64_t(n)
	switch {
	case p.InList && kind == Null:
		return finish(C.AMlistPutNull(d.doc, o, i, ins))
	case p.InList && kind == Bool:
		return finish(C.AMlistPutBool(d.doc, o, i, ins, C.bool(n != 0)))
	case p.InList && kind == Int:
		return finish(C.AMlistPutInt(d.doc, o, i, ins, c))
	case p.InList && kind == Float:
		return finish(C.AMlistPutF64(d.doc, o, i, ins, C.double(f)))
	case p.InList && kind == Counter:
		return finish(C.AMlistPutCounter(d.doc, o, i, ins, c))
	case kind == Null:
		return finish(C.AMmapPutNull(d.doc, o, p.key()))
	case kind == Bool:
		return finish(C.AMmapPutBool(d.doc, o, p.key(), C.bool(n != 0)))
	case kind == Int:
		return finish(C.AMmapPutInt(d.doc, o, p.key(), c))
	case kind == Float:
		return finish(C.AMmapPutF64(d.doc, o, p.key(), C.double(f)))
	case kind == Counter:
		return finish(C.AMmapPutCounter(d.doc, o, p.key(), c))
	}
	return fmt.Errorf("%w: no scalar of kind %d", ErrLibrary, kind)
}

// PutObject makes an empty map, list or text. It is good until Release.
func (d *Doc) PutObject(p Place, kind Kind) (Object, error) {
	t := C.uint8_t(C.OBJ_MAP)
	switch kind {
	case List:
		t = C.OBJ_LIST
	case Text:
		t = C.OBJ_TEXT
	default:
	}
	var r *C.AMresult
	if p.InList {
		r = C.AMlistPutObject(d.doc, p.Object.id, C.size_t(p.Index), C.bool(p.Insert), t)
	} else {
		r = C.AMmapPutObject(d.doc, p.Object.id, p.key(), t)
	}
	if err := failure(r); err != nil {
		C.AMresultFree(r)
		return Object{}, err
	}
	d.kept = append(d.kept, r)
	return Object{C.AMitemObjId(C.AMresultItem(r))}, nil
}

// Increment adds to a counter.
func (d *Doc) Increment(p Place, by int64) error {
	if p.InList {
		return finish(C.AMlistIncrement(d.doc, p.Object.id, C.size_t(p.Index), C.int64_t(by)))
	}
	return finish(C.AMmapIncrement(d.doc, p.Object.id, p.key(), C.int64_t(by)))
}

// Delete takes a place out.
func (d *Doc) Delete(p Place) error {
	if p.InList {
		return finish(C.AMlistDelete(d.doc, p.Object.id, C.size_t(p.Index)))
	}
	return finish(C.AMmapDelete(d.doc, p.Object.id, p.key()))
}

// Splice edits a text. Index and del count Unicode code points.
func (d *Doc) Splice(text Object, index, del int, insert string) error {
	return finish(C.AMspliceText(d.doc, text.id, C.size_t(index), C.ptrdiff_t(del),
		span(unsafe.Slice(unsafe.StringData(insert), len(insert)))))
}
