package collab

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// The types of messages.
const (
	typeJoin         = "join"
	typePeer         = "peer"
	typeLeave        = "leave"
	typeError        = "error"
	typeRequest      = "request"
	typeSync         = "sync"
	typeUnavailable  = "doc-unavailable"
	typeEphemeral    = "ephemeral"
	typeSubscribe    = "remote-subscription-change"
	typeRemoteHeads  = "remote-heads-changed"
	protocolVersion1 = "1"
)

// A message is any message of the protocol. Each has some of the fields.
type message struct {
	Type       string `cbor:"type"`
	SenderID   string `cbor:"senderId,omitempty"`
	TargetID   string `cbor:"targetId,omitempty"`
	DocumentID string `cbor:"documentId,omitempty"`
	Data       []byte `cbor:"data,omitempty"`

	// Of join and peer.
	PeerMetadata *peerMetadata `cbor:"peerMetadata,omitempty"`
	Supported    []string      `cbor:"supportedProtocolVersions,omitempty"`
	Selected     string        `cbor:"selectedProtocolVersion,omitempty"`
	// Of error.
	Message string `cbor:"message,omitempty"`
	// Of ephemeral. The count is passed on as it comes.
	Count     cbor.RawMessage `cbor:"count,omitempty"`
	SessionID string          `cbor:"sessionId,omitempty"`
	// Of remote-subscription-change.
	Add    []string `cbor:"add,omitempty"`
	Remove []string `cbor:"remove,omitempty"`
	// Of remote-heads-changed, which is not taken from clients.
	NewHeads map[string]remoteHeads `cbor:"newHeads,omitempty"`
}

type peerMetadata struct {
	StorageID   string `cbor:"storageId,omitempty"`
	IsEphemeral bool   `cbor:"isEphemeral"`
}

type remoteHeads struct {
	Heads     []string `cbor:"heads"`
	Timestamp float64  `cbor:"timestamp"` // Unix milliseconds
}

// Bounds of what is decoded. A message is flat, but for the metadata.
const (
	maxNesting = 8
	maxEntries = 4096
	maxName    = 512 // bytes of an id of a peer, session or storage
)

var decoding, encoding = modes()

func modes() (cbor.DecMode, cbor.EncMode) {
	d, err := cbor.DecOptions{
		MaxNestedLevels: maxNesting, MaxArrayElements: maxEntries, MaxMapPairs: maxEntries, DupMapKey: cbor.DupMapKeyEnforcedAPF,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	e, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return d, e
}

// decode reads a message and checks what holds for each.
func decode(b []byte) (*message, error) {
	var m message
	if err := decoding.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("not a message: %w", err)
	}
	for _, s := range []string{m.SenderID, m.TargetID, m.SessionID} {
		if len(s) > maxName {
			return nil, fmt.Errorf("an id of %d bytes, at most %d are allowed", len(s), maxName)
		}
	}
	return &m, nil
}
