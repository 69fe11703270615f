package crdt

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// ReplicaID names one incarnation of one store: a UUIDv7 minted when the store
// is created or restored. It is never reused (guarantee I2).
type ReplicaID uuid.UUID

// String returns the canonical form of the UUID.
func (r ReplicaID) String() string { return uuid.UUID(r).String() }

// Append appends what String returns.
func (r ReplicaID) Append(b []byte) []byte {
	for i, to := range [...]int{4, 6, 8, 10, len(r)} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, r[uuidParts[i]:to])
	}
	return b
}

// uuidParts are where the parts of a UUID begin that are written with hyphens between.
var uuidParts = [...]int{0, 4, 6, 8, 10}

// IsZero reports whether r is the zero UUID, which names no replica.
func (r ReplicaID) IsZero() bool { return r == ReplicaID{} }

// Compare orders replicas by their bytes.
func (r ReplicaID) Compare(o ReplicaID) int { return bytes.Compare(r[:], o[:]) }

// ErrBadReplica is returned for text that is not a replica id.
var ErrBadReplica = errors.New("not a replica id")

// ParseReplicaID reads the canonical form of a UUID, and no other form of it.
func ParseReplicaID(s string) (ReplicaID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return ReplicaID{}, fmt.Errorf("%w: %.40q", ErrBadReplica, s)
	}
	return ReplicaID(u), nil
}

// MarshalText implements encoding.TextMarshaler with the canonical form.
func (r ReplicaID) MarshalText() ([]byte, error) { return uuid.UUID(r).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *ReplicaID) UnmarshalText(b []byte) error {
	p, err := ParseReplicaID(string(b))
	if err == nil {
		*r = p
	}
	return err
}

// A Dot names one change for ever: the Seq-th change of a replica. Sequence
// numbers are dense from 1 (I1); the zero Dot names nothing.
type Dot struct {
	Replica ReplicaID
	Seq     uint64
}

// ErrBadDot is returned for text that is not a dot.
var ErrBadDot = errors.New("not a dot")

// IsZero reports whether d is the zero dot.
func (d Dot) IsZero() bool { return d == Dot{} }

// Compare orders dots by replica, then sequence number. It is an arbitrary
// total order that every replica agrees on, not a causal one.
func (d Dot) Compare(o Dot) int {
	if c := d.Replica.Compare(o.Replica); c != 0 {
		return c
	}
	return cmp.Compare(d.Seq, o.Seq)
}

// String returns "seq@replica".
func (d Dot) String() string {
	var buf [64]byte
	return string(d.Append(buf[:0]))
}

// Append appends what String returns.
func (d Dot) Append(b []byte) []byte {
	return d.Replica.Append(append(strconv.AppendUint(b, d.Seq, 10), '@'))
}

// ParseDot reads what String writes of a dot that is not zero.
func ParseDot(s string) (Dot, error) {
	seq, rep, _ := strings.Cut(s, "@")
	n, err := strconv.ParseUint(seq, 10, 64)
	r, rerr := ParseReplicaID(rep)
	d := Dot{Replica: r, Seq: n}
	if err != nil || rerr != nil || n == 0 || r.IsZero() || d.String() != s {
		return Dot{}, fmt.Errorf("%w: %.80q", ErrBadDot, s)
	}
	return d, nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Dot) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Dot) UnmarshalText(b []byte) error {
	p, err := ParseDot(string(b))
	if err == nil {
		*d = p
	}
	return err
}
