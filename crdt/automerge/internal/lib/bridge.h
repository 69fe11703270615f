// The functions of the Automerge C library that are used here. The library is
// the one that github.com/automerge/automerge-go brings along and links.
#ifndef MERIDIAN_AUTOMERGE_BRIDGE_H
#define MERIDIAN_AUTOMERGE_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct AMactorId AMactorId;
typedef struct AMchange AMchange;
typedef struct AMdoc AMdoc;
typedef struct AMitem AMitem;
typedef struct AMobjId AMobjId;
typedef struct AMresult AMresult;
typedef struct { const uint8_t *src; size_t count; } AMbyteSpan;
typedef struct { uint8_t detail[8 + 8 + 8]; } AMitems;

uint8_t AMresultStatus(const AMresult *result);
AMbyteSpan AMresultError(const AMresult *result);
void AMresultFree(AMresult *result);
AMitem *AMresultItem(AMresult *result);
AMitems AMresultItems(AMresult *result);
size_t AMresultSize(const AMresult *result);
AMitem *AMitemsNext(AMitems *items, ptrdiff_t n);

uint32_t AMitemValType(const AMitem *item);
bool AMitemKey(const AMitem *item, AMbyteSpan *value);
const AMobjId *AMitemObjId(const AMitem *item);
bool AMitemToBool(const AMitem *item, bool *value);
bool AMitemToBytes(const AMitem *item, AMbyteSpan *value);
bool AMitemToChange(AMitem *item, AMchange **value);
bool AMitemToChangeHash(const AMitem *item, AMbyteSpan *value);
bool AMitemToCounter(const AMitem *item, int64_t *value);
bool AMitemToDoc(AMitem *item, AMdoc **value);
bool AMitemToF64(const AMitem *item, double *value);
bool AMitemToInt(const AMitem *item, int64_t *value);
bool AMitemToStr(const AMitem *item, AMbyteSpan *value);
bool AMitemToTimestamp(const AMitem *item, int64_t *value);
bool AMitemToUint(const AMitem *item, uint64_t *value);
bool AMitemToActorId(const AMitem *item, const AMactorId **value);

AMbyteSpan AMactorIdBytes(const AMactorId *actor_id);
AMresult *AMactorIdFromBytes(const uint8_t *src, size_t count);
const AMactorId *AMobjIdActorId(const AMobjId *obj_id);
uint64_t AMobjIdCounter(const AMobjId *obj_id);
AMbyteSpan AMchangeRawBytes(const AMchange *change);

AMresult *AMcreate(const AMactorId *actor_id);
AMresult *AMload(const uint8_t *src, size_t count);
AMresult *AMloadIncremental(AMdoc *doc, const uint8_t *src, size_t count);
AMresult *AMsave(AMdoc *doc);
AMresult *AMsetActorId(AMdoc *doc, const AMactorId *actor_id);
AMresult *AMcommit(AMdoc *doc, AMbyteSpan message, const int64_t *timestamp);
size_t AMrollback(AMdoc *doc);
AMresult *AMgetHeads(AMdoc *doc);
AMresult *AMgetChanges(AMdoc *doc, const AMitems *have_deps);
AMresult *AMgetChangeByHash(AMdoc *doc, const uint8_t *src, size_t count);

uint8_t AMobjObjType(const AMdoc *doc, const AMobjId *obj_id);
AMresult *AMtext(const AMdoc *doc, const AMobjId *obj_id, const AMitems *heads);
AMresult *AMmapRange(const AMdoc *doc, const AMobjId *obj_id, AMbyteSpan begin, AMbyteSpan end, const AMitems *heads);
AMresult *AMmapGetAll(const AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, const AMitems *heads);
AMresult *AMlistRange(const AMdoc *doc, const AMobjId *obj_id, size_t begin, size_t end, const AMitems *heads);
AMresult *AMlistGetAll(const AMdoc *doc, const AMobjId *obj_id, size_t pos, const AMitems *heads);

AMresult *AMspliceText(AMdoc *doc, const AMobjId *obj_id, size_t pos, ptrdiff_t del, AMbyteSpan text);
AMresult *AMmapDelete(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key);
AMresult *AMmapIncrement(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, int64_t value);
AMresult *AMmapPutBool(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, bool value);
AMresult *AMmapPutCounter(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, int64_t value);
AMresult *AMmapPutF64(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, double value);
AMresult *AMmapPutInt(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, int64_t value);
AMresult *AMmapPutNull(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key);
AMresult *AMmapPutObject(AMdoc *doc, const AMobjId *obj_id, AMbyteSpan key, uint8_t obj_type);
AMresult *AMlistDelete(AMdoc *doc, const AMobjId *obj_id, size_t pos);
AMresult *AMlistIncrement(AMdoc *doc, const AMobjId *obj_id, size_t pos, int64_t value);
AMresult *AMlistPutBool(AMdoc *doc, const AMobjId *obj_id, size_t pos, bool insert, bool value);
AMresult *AMlistPutCounter(AMdoc *doc, const AMobjId *obj_id, size_t pos, bool insert, int64_t value);
AMresult *AMlistPutF64(AMdoc *doc, const AMobjId *obj_id, size_t pos, bool insert, double value);
AMresult *AMlistPutInt(AMdoc *doc, const AMobjId *obj_id, size_t pos, bool insert, int64_t value);
AMresult *AMlistPutNull(AMdoc *doc, const AMobjId *obj_id, size_t pos, bool insert);
AMresult *AMlistPutObject(AMdoc *doc, const AMobjId *obj_id, size_t pos, bool insert, uint8_t obj_type);

// A children is one level of an object: a buffer that says what there is, and
// the results that own the objects in it.
typedef struct {
	uint8_t *data;
	size_t size, room;
	AMresult **results;
	size_t nresults, results_room;
	const AMobjId **objects;
	size_t nobjects, objects_room;
	AMresult *error; // a failed call, or NULL
	bool no_memory;
} children;

// Kinds of objects, as the library numbers them.
enum { OBJ_LIST = 1, OBJ_MAP = 2, OBJ_TEXT = 3 };

// Kinds of values in the buffer.
enum { V_NULL, V_BOOL, V_INT, V_UINT, V_F64, V_STR, V_BYTES, V_COUNTER, V_TIME, V_MAP, V_LIST, V_TEXT, V_UNKNOWN };

// bridge_children reads one level of a map or list. With all set, each place
// shows all its concurrent values, otherwise the one that Automerge shows.
children *bridge_children(AMdoc *doc, const AMobjId *obj, uint8_t kind, bool all);
void bridge_free(children *c);

// bridge_changes appends all changes of a document to the buffer, each with a
// length of 4 bytes in front.
children *bridge_changes(AMdoc *doc);

// What a result holds, NULL or empty if it is something else.
AMdoc *bridge_doc(AMresult *r);
AMchange *bridge_change(AMresult *r);
const AMactorId *bridge_actor(AMresult *r);
AMbyteSpan bridge_bytes(AMresult *r);
AMbyteSpan bridge_hash(AMresult *r);

AMresult *bridge_commit(AMdoc *doc, int64_t time);

// bridge_heads appends the hashes of the heads to the buffer.
children *bridge_heads(AMdoc *doc);

#endif
