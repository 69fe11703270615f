package collab

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/mr-tron/base58"
)

// ErrID is a document id that automerge-repo does not make.
var ErrID = errors.New("not a document id of automerge-repo")

const (
	idBytes  = 16
	sumBytes = 4
	// maxID is more characters than any id has.
	maxID = 32
)

// DocumentID writes the 16 bytes of a UUID as automerge-repo does: Base58Check.
func DocumentID(uuid [idBytes]byte) string {
	return base58.Encode(append(uuid[:], checksum(uuid[:])...))
}

func checksum(b []byte) []byte {
	once := sha256.Sum256(b)
	twice := sha256.Sum256(once[:])
	return twice[:sumBytes]
}

// CheckDocumentID reports whether automerge-repo could have made an id. The error
// wraps ErrID.
func CheckDocumentID(id string) error {
	if len(id) > maxID {
		return fmt.Errorf("%w: %d characters", ErrID, len(id))
	}
	b, err := base58.Decode(id)
	if err != nil || len(b) != idBytes+sumBytes || !bytes.Equal(checksum(b[:idBytes]), b[idBytes:]) {
		return fmt.Errorf("%w: %.40q is not 16 bytes in Base58Check", ErrID, id)
	}
	return nil
}

// encodeHash writes a change's hash as automerge-repo writes the heads of a document.
func encodeHash(h [32]byte) string { return base58.Encode(append(h[:], checksum(h[:])...)) }
