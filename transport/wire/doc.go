// Package wire is the vocabulary that regions speak: the messages, their binary
// form, and the frames that carry them on a stream. It does no I/O of its own.
//
// # Form
//
// A stream starts with a [StreamType]; a live stream goes on with a [Preface].
// Then come frames:
//
//	frame   = length uvarint, flags byte, body        length counts flags and body
//	body    = messages                                without FlagZstd
//	        = size uvarint, zstd(messages)            with FlagZstd; size is that of messages
//	message = length uvarint, kind byte, fields       length counts kind and fields
//
// Numbers are unsigned varints in their shortest form, texts and byte strings
// have their length before them, replica ids, dots and vectors are those of
// package crdt. All bounds are constants of this package, and are checked
// before anything is allocated. Golden bytes in testdata guard the form.
//
// # Evolution
//
// The name of the protocol ([Protocol], agreed on in the TLS handshake) names
// what is on this page: another one does not interoperate. Within it:
//
//   - A message may get new fields at its end, and so may the records in it that
//     have their length before them ([Tip], [Report]). A reader takes what it
//     knows and passes over what follows; what it does not find is zero.
//   - There may be new kinds of messages. A reader passes over a kind that it does
//     not know ([ErrUnknownKind]). Who sends one must not rely on an answer
//     unless the peer's [Hello] names a version that has the kind.
//   - Hello carries the range of versions that its sender speaks. Version 1 has
//     the messages from [Hello] to [CatchUp]; version 2 adds [Await], [Acks],
//     [VectorQuery] and [VectorReply]; version 3 adds [DigestQuery] and
//     [DigestReply], and the digest in a [Report]. From version 3 on changes may
//     be of the format that has a request at its end. Whoever does not read that
//     cannot take part, so links with earlier versions are refused. Version 4
//     adds [Presence] and [ShareRequest], which do not get past a peer of version 3.
//     Version 5 adds [Forward] and [Forwarded], which are not sent to a peer of
//     an earlier version: no request of a client is forwarded to or through it.
//     Version 6 adds [Behind], [SnapshotRequest] and [SnapshotPart]; a peer without
//     them is not asked for a snapshot. From version 7 on changes may
//     carry decisions. Version 8 adds [DocQuery] and [DocReply], whether the region of a
//     [Report] is settled, as what, and what it wants, what a [Hello] says of the receiver, Elsewhere in [SnapshotPart], and changes of which some regions have
//     placeholders; digests have another form since. Whoever does not read those
//     cannot take part, so links with earlier versions are refused.
//     [Removed] is told to whoever is not linked with any more; who does not know it
//     is not linked with all the same.
package wire
