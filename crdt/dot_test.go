package crdt_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
)

func TestDotsHaveOneTextualForm(t *testing.T) {
	d := crdt.Dot{Replica: causaltest.ReplicaID(0xab), Seq: 42}
	text := "42@01000000-0000-7000-8000-0000000000ac"
	if d.String() != text {
		t.Errorf("text %v, want %v", d, text)
	}
	b, _ := d.MarshalText()
	var back crdt.Dot
	if err := back.UnmarshalText(b); err != nil || back != d {
		t.Errorf("%s came back as %v, %v", b, back, err)
	}
	var r crdt.ReplicaID
	b, _ = d.Replica.MarshalText()
	if err := r.UnmarshalText(b); err != nil || r != d.Replica {
		t.Errorf("%s came back as %v, %v", b, r, err)
	}
	for _, s := range []string{
		"", "@", "42", "42@", "0" + text, "+" + text, strings.ToUpper(text), text + " ", "0@" + d.Replica.String(),
		"42@00000000-0000-0000-0000-000000000000", "42@{01000000-0000-7000-8000-0000000000ac}",
		"42@01000000000070008000000000000000ac", "18446744073709551616" + text[2:],
	} {
		if got, err := crdt.ParseDot(s); !errors.Is(err, crdt.ErrBadDot) {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
	}
	if _, err := crdt.ParseReplicaID("urn:uuid:01000000-0000-7000-8000-0000000000ac"); !errors.Is(err, crdt.ErrBadReplica) {
		t.Errorf("a UUID in another form: %v", err)
	}
}
