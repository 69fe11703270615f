package crdt_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/meridiandb/meridian/crdt"
)

func encode(t *testing.T, c *crdt.Change) []byte {
	t.Helper()
	b, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// residentChange is a change that only some regions hold.
func residentChange() *crdt.Change {
	c := sampleChange()
	c.Residency = &crdt.Residency{Regions: []string{"ap-south", "eu-*"}, Blind: [crdt.BlindSize]byte{1, 15: 16}}
	return c
}

func decodeWhole(t *testing.T, b []byte) *crdt.Change {
	t.Helper()
	c, rest, err := crdt.DecodeChange(b)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	return c
}

func TestResidentChangeSurvivesEncoding(t *testing.T) {
	for _, traced := range []bool{false, true} {
		c := residentChange()
		if traced {
			c.Trace = crdt.Trace{ID: [16]byte{1}, Span: [8]byte{2}}
		} else {
			golden(t, "residentchange", encode(t, c))
		}
		if d := cmp.Diff(c, decodeWhole(t, encode(t, c)), cmp.AllowUnexported(crdt.Vector{}), cmpopts.EquateEmpty()); d != "" {
			t.Error(d)
		}
	}
}

func TestPlaceholderTellsNothingOfWhatTheChangeDoes(t *testing.T) {
	c := residentChange()
	c.Trace = crdt.Trace{ID: [16]byte{1}, Span: [8]byte{2}}
	whole := encode(t, c)
	for _, region := range []string{"eu-west", "ap-south"} {
		if got, err := crdt.FormFor(whole, region); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s is not to have the change whole: %v", region, err)
		}
	}
	b, err := crdt.FormFor(whole, "us-east")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "placeholder", b)
	got := decodeWhole(t, b)
	if d := cmp.Diff(c.Header, got.Header, cmp.AllowUnexported(crdt.Vector{}), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if !got.Residency.Withheld || got.Residency.Lost || len(got.Mutations) > 0 || got.Request != nil || !got.Trace.IsZero() || !slices.Equal(got.Residency.Regions, c.Residency.Regions) {
		t.Errorf("the placeholder is %+v", got)
	}
	for i := range c.Mutations {
		if m := &c.Mutations[i]; len(m.ID) > 3 && bytes.Contains(b, []byte(m.ID)) || len(m.Payload) > 3 && bytes.Contains(b, m.Payload) {
			t.Errorf("the placeholder has something of %q in it", m.ID)
		}
	}
	// It goes on as it is, also to who should have the change.
	if again, err := crdt.FormFor(b, "eu-west"); err != nil || !bytes.Equal(again, b) {
		t.Errorf("a placeholder is passed on in another form: %v", err)
	}
}

func TestBothFormsOfAChangeHaveOneImprint(t *testing.T) {
	whole := encode(t, residentChange())
	imprint := func(b []byte) []byte {
		out, err := crdt.Imprint(b)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, lost := range []bool{false, true} {
		b, err := crdt.Withhold(whole, lost)
		if err != nil {
			t.Fatal(err)
		}
		if decodeWhole(t, b).Residency.Lost != lost || !bytes.Equal(imprint(b), imprint(whole)) {
			t.Errorf("lost: %v, the placeholder has another imprint", lost)
		}
		if b, err = crdt.Withhold(b, false); err != nil || !bytes.Equal(b, imprint(whole)) {
			t.Errorf("the placeholder of a placeholder is another one: %v", err)
		}
	}
	other := residentChange()
	other.Mutations[0].Payload = []byte("another")
	blind := residentChange()
	blind.Residency.Blind[3]++
	for _, c := range []*crdt.Change{other, blind} {
		if bytes.Equal(imprint(encode(t, c)), imprint(whole)) {
			t.Error("two changes have one imprint")
		}
	}
	if plain := encode(t, sampleChange()); !bytes.Equal(imprint(plain), plain) {
		t.Error("a change that all hold is not its own imprint")
	}
}

func TestBadResidenciesAreRefused(t *testing.T) {
	many := make([]string, crdt.MaxRegionPatterns+1)
	for i := range many {
		many[i] = "a" + strings.Repeat("b", i)
	}
	for name, change := range map[string]func(c *crdt.Change){
		"no region":                func(c *crdt.Change) { c.Residency.Regions = nil },
		"too many":                 func(c *crdt.Change) { c.Residency.Regions = many },
		"too long":                 func(c *crdt.Change) { c.Residency.Regions = []string{strings.Repeat("a", crdt.MaxRegionPattern+1)} },
		"empty":                    func(c *crdt.Change) { c.Residency.Regions = []string{""} },
		"out of order":             func(c *crdt.Change) { c.Residency.Regions = []string{"b", "a"} },
		"twice":                    func(c *crdt.Change) { c.Residency.Regions = []string{"a", "a"} },
		"other characters":         func(c *crdt.Change) { c.Residency.Regions = []string{"eu-[ab]"} },
		"a whole one that is lost": func(c *crdt.Change) { c.Residency.Lost = true },
		"a placeholder with a body": func(c *crdt.Change) {
			c.Residency.Withheld, c.Residency.Blind = true, [crdt.BlindSize]byte{}
		},
	} {
		c := residentChange()
		change(c)
		if _, err := c.AppendBinary(nil); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := encode(t, residentChange())
	for i := range b {
		if _, _, err := crdt.DecodeChange(b[:i]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken", i, len(b))
		}
	}
	if _, err := crdt.Withhold(encode(t, sampleChange()), false); !errors.Is(err, crdt.ErrCorrupt) {
		t.Errorf("a change that all hold has a placeholder: %v", err)
	}
}

func TestRegionPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, region string
		want            bool
	}{
		{"eu-west", "eu-west", true}, {"eu-west", "eu-west-2", false}, {"eu-*", "eu-west", true}, {"eu-*", "us-eu-west", false},
		{"*", "ap-south", true}, {"*-east", "us-east", true}, {"eu-*-1", "eu-west-1", true}, {"eu-*-1", "eu-1", false},
	} {
		if got := crdt.MatchRegion([]string{"nowhere", tt.pattern}, tt.region); got != tt.want {
			t.Errorf("%s matches %s: %v", tt.pattern, tt.region, got)
		}
	}
}
