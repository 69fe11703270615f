#include "bridge.h"

#include <stdlib.h>
#include <string.h>

enum {
	TYPE_BOOL = 1 << 2, TYPE_BYTES = 1 << 3, TYPE_COUNTER = 1 << 6, TYPE_F64 = 1 << 8, TYPE_INT = 1 << 9,
	TYPE_NULL = 1 << 11, TYPE_OBJ = 1 << 12, TYPE_STR = 1 << 13, TYPE_TIME = 1 << 17, TYPE_UINT = 1 << 18,
};

// grow makes room for n more items of a size in an array.
static bool grow(children *c, void **array, size_t have, size_t *room, size_t n, size_t size) {
	if (c->no_memory) return false;
	if (have + n <= *room) return true;
	size_t to = *room ? *room * 2 : 16;
	while (to < have + n) to *= 2;
	void *p = realloc(*array, to * size);
	if (p == NULL) {
		c->no_memory = true;
		return false;
	}
	*array = p;
	*room = to;
	return true;
}

static void put(children *c, const void *src, size_t n) {
	if (n == 0 || !grow(c, (void **)&c->data, c->size, &c->room, n, 1)) return;
	memcpy(c->data + c->size, src, n);
	c->size += n;
}

static void put_u8(children *c, uint8_t v) { put(c, &v, 1); }
static void put_u32(children *c, size_t v) { uint32_t x = (uint32_t)v; put(c, &x, 4); }
static void put_i64(children *c, int64_t v) { put(c, &v, 8); }
static void put_span(children *c, AMbyteSpan s) { put_u32(c, s.count); put(c, s.src, s.count); }

// ok reports whether a call went well, and keeps the first failure.
static bool ok(children *c, AMresult *r) {
	if (AMresultStatus(r) == 0) return true;
	if (c->error == NULL) c->error = r;
	else AMresultFree(r);
	return false;
}

static bool keep(children *c, AMresult *r) {
	if (!grow(c, (void **)&c->results, c->nresults, &c->results_room, 1, sizeof(AMresult *))) return false;
	c->results[c->nresults++] = r;
	return true;
}

static void put_object(children *c, AMdoc *doc, const AMobjId *id) {
	uint8_t kind = AMobjObjType(doc, id);
	put_u8(c, kind == OBJ_LIST ? V_LIST : kind == OBJ_TEXT ? V_TEXT : V_MAP);
	put_u32(c, c->nobjects);
	if (grow(c, (void **)&c->objects, c->nobjects, &c->objects_room, 1, sizeof(AMobjId *)))
		c->objects[c->nobjects++] = id;
	if (kind != OBJ_TEXT) return;
	AMresult *r = AMtext(doc, id, NULL);
	AMbyteSpan text = {NULL, 0};
	if (!ok(c, r)) {
		put_u32(c, 0);
		return;
	}
	AMitemToStr(AMresultItem(r), &text);
	put_span(c, text);
	AMresultFree(r);
}

// put_item writes one value with the id of its operation. It reports whether
// that is an object, whose result must be kept.
static bool put_item(children *c, AMdoc *doc, const AMitem *item) {
	const AMobjId *id = AMitemObjId(item);
	AMbyteSpan actor = {NULL, 0};
	if (id != NULL) actor = AMactorIdBytes(AMobjIdActorId(id));
	put_i64(c, id == NULL ? 0 : (int64_t)AMobjIdCounter(id));
	put_span(c, actor);
	union { bool b; int64_t i; uint64_t u; double f; AMbyteSpan s; } v;
	switch (AMitemValType(item)) {
	case TYPE_NULL:
		put_u8(c, V_NULL);
		return false;
	case TYPE_BOOL:
		AMitemToBool(item, &v.b);
		put_u8(c, V_BOOL);
		put_u8(c, v.b);
		return false;
	case TYPE_INT:
		AMitemToInt(item, &v.i);
		put_u8(c, V_INT);
		break;
	case TYPE_UINT:
		AMitemToUint(item, &v.u);
		put_u8(c, V_UINT);
		break;
	case TYPE_F64:
		AMitemToF64(item, &v.f);
		put_u8(c, V_F64);
		break;
	case TYPE_COUNTER:
		AMitemToCounter(item, &v.i);
		put_u8(c, V_COUNTER);
		break;
	case TYPE_TIME:
		AMitemToTimestamp(item, &v.i);
		put_u8(c, V_TIME);
		break;
	case TYPE_STR:
		AMitemToStr(item, &v.s);
		put_u8(c, V_STR);
		put_span(c, v.s);
		return false;
	case TYPE_BYTES:
		AMitemToBytes(item, &v.s);
		put_u8(c, V_BYTES);
		put_span(c, v.s);
		return false;
	case TYPE_OBJ:
		put_object(c, doc, id);
		return true;
	default:
		put_u8(c, V_UNKNOWN);
		return false;
	}
	put_i64(c, v.i);
	return false;
}

// put_all writes all the values of one place.
static void put_all(children *c, AMdoc *doc, AMresult *r) {
	if (!ok(c, r)) {
		put_u32(c, 0);
		return;
	}
	bool objects = false;
	put_u32(c, AMresultSize(r));
	AMitems items = AMresultItems(r);
	for (AMitem *i; (i = AMitemsNext(&items, 1)) != NULL;) objects |= put_item(c, doc, i);
	if (!objects || !keep(c, r)) AMresultFree(r);
}

children *bridge_children(AMdoc *doc, const AMobjId *obj, uint8_t kind, bool all) {
	children *c = calloc(1, sizeof *c);
	if (c == NULL) return NULL;
	AMbyteSpan none = {NULL, 0};
	bool map = kind != OBJ_LIST;
	AMresult *r = map ? AMmapRange(doc, obj, none, none, NULL) : AMlistRange(doc, obj, 0, SIZE_MAX, NULL);
	if (!ok(c, r)) return c;
	bool objects = false;
	put_u32(c, AMresultSize(r));
	AMitems items = AMresultItems(r);
	size_t pos = 0;
	for (AMitem *i; (i = AMitemsNext(&items, 1)) != NULL; pos++) {
		AMbyteSpan key = {NULL, 0};
		if (map) {
			AMitemKey(i, &key);
			put_span(c, key);
		}
		if (all) {
			put_all(c, doc, map ? AMmapGetAll(doc, obj, key, NULL) : AMlistGetAll(doc, obj, pos, NULL));
			continue;
		}
		put_u32(c, 1);
		objects |= put_item(c, doc, i);
	}
	if (!objects || !keep(c, r)) AMresultFree(r);
	return c;
}

children *bridge_changes(AMdoc *doc) {
	children *c = calloc(1, sizeof *c);
	if (c == NULL) return NULL;
	AMresult *r = AMgetChanges(doc, NULL);
	if (!ok(c, r)) return c;
	AMitems items = AMresultItems(r);
	for (AMitem *i; (i = AMitemsNext(&items, 1)) != NULL;) {
		AMchange *change;
		if (AMitemToChange(i, &change)) put_span(c, AMchangeRawBytes(change));
	}
	AMresultFree(r);
	return c;
}

children *bridge_heads(AMdoc *doc) {
	children *c = calloc(1, sizeof *c);
	if (c == NULL) return NULL;
	AMresult *r = AMgetHeads(doc);
	if (!ok(c, r)) return c;
	AMitems items = AMresultItems(r);
	AMbyteSpan hash;
	for (AMitem *i; (i = AMitemsNext(&items, 1)) != NULL;)
		if (AMitemToChangeHash(i, &hash)) put(c, hash.src, hash.count);
	AMresultFree(r);
	return c;
}

AMdoc *bridge_doc(AMresult *r) {
	AMdoc *d = NULL;
	AMitemToDoc(AMresultItem(r), &d);
	return d;
}

AMchange *bridge_change(AMresult *r) {
	AMchange *c = NULL;
	if (AMresultStatus(r) == 0 && AMresultSize(r) > 0) AMitemToChange(AMresultItem(r), &c);
	return c;
}

const AMactorId *bridge_actor(AMresult *r) {
	const AMactorId *a = NULL;
	AMitemToActorId(AMresultItem(r), &a);
	return a;
}

AMbyteSpan bridge_bytes(AMresult *r) {
	AMbyteSpan s = {NULL, 0};
	AMitemToBytes(AMresultItem(r), &s);
	return s;
}

AMbyteSpan bridge_hash(AMresult *r) {
	AMbyteSpan s = {NULL, 0};
	if (AMresultSize(r) > 0) AMitemToChangeHash(AMresultItem(r), &s);
	return s;
}

AMresult *bridge_commit(AMdoc *doc, int64_t time) {
	AMbyteSpan none = {NULL, 0};
	return AMcommit(doc, none, &time);
}

void bridge_free(children *c) {
	if (c == NULL) return;
	for (size_t i = 0; i < c->nresults; i++) AMresultFree(c->results[i]);
	if (c->error != NULL) AMresultFree(c->error);
	free(c->data);
	free(c->results);
	free(c->objects);
	free(c);
}
