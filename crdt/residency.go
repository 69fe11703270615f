package crdt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A change to collections that only some regions hold has two forms. Those
// regions have it whole; the others have a placeholder, by which dots stay
// dense and causal order is kept, and which tells of the change when it was made
// and after what, and nothing of what it does.

// Bounds of a Residency.
const (
	// MaxRegionPatterns is the most patterns that name regions.
	MaxRegionPatterns = 16
	// MaxRegionPattern is the greatest length of one in bytes.
	MaxRegionPattern = 64
)

// BlindSize and FingerprintSize are the lengths of these.
const (
	BlindSize       = 16
	FingerprintSize = sha256.Size
)

// A Residency says which regions hold what a change does.
type Residency struct {
	// Regions are patterns of the names of those regions, sorted, none twice: '*'
	// stands for any characters.
	Regions []string
	// Blind is random, so that nobody can find out by a fingerprint whether a guess
	// of the change is right. It is zero in a placeholder.
	Blind [BlindSize]byte
	// Withheld says that this is the placeholder of the change: it has neither
	// mutations, request nor trace. Fingerprint is then that of the whole change.
	Withheld    bool
	Fingerprint [FingerprintSize]byte
	// Lost says that no region has the whole change any more, and that those which
	// should hold it go on without. Placeholders only.
	Lost bool
}

// HeldBy reports whether a region of that name is one of them.
func (r *Residency) HeldBy(region string) bool {
	return r == nil || MatchRegion(r.Regions, region)
}

// IsWithheld reports whether it is that of a placeholder.
func (r *Residency) IsWithheld() bool { return r != nil && r.Withheld }

// HashRegions is a short hash of patterns.
func HashRegions(patterns []string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(patterns, ",")))
	return binary.BigEndian.Uint64(sum[:])
}

// MatchRegion reports whether a name matches one of the patterns.
func MatchRegion(patterns []string, region string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, region)
		return ok && err == nil
	})
}

// CheckRegions reports, as ErrCorrupt, patterns that are none or too many, not
// sorted, or of other characters than a-z, A-Z, 0-9, '-', '_', '.' and '*'.
func CheckRegions(patterns []string) error {
	if len(patterns) == 0 || len(patterns) > MaxRegionPatterns {
		return fmt.Errorf("%w: %d patterns of regions, 1 to %d are possible", ErrCorrupt, len(patterns), MaxRegionPatterns)
	}
	for i, p := range patterns {
		if p == "" || len(p) > MaxRegionPattern || strings.ContainsFunc(p, func(r rune) bool {
			return r != '-' && r != '_' && r != '.' && r != '*' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return fmt.Errorf("%w: the pattern of regions %.100q: use 1 to %d of a-z, A-Z, 0-9, '-', '_', '.', '*'", ErrCorrupt, p, MaxRegionPattern)
		}
		if i > 0 && patterns[i-1] >= p {
			return fmt.Errorf("%w: patterns of regions out of order", ErrCorrupt)
		}
	}
	return nil
}

const (
	flagWithheld = 1 << iota
	flagLost
)

func (r *Residency) append(b []byte) []byte {
	var flags byte
	if r.Withheld {
		flags |= flagWithheld
	}
	if r.Lost {
		flags |= flagLost
	}
	b = append(b, flags, byte(len(r.Regions)))
	for _, p := range r.Regions {
		b = append(append(b, byte(len(p))), p...)
	}
	if r.Withheld {
		return append(b, r.Fingerprint[:]...)
	}
	return append(b, r.Blind[:]...)
}

func readResidency(r *Reader) *Residency {
	flags := r.Byte()
	if flags&^(flagWithheld|flagLost) != 0 {
		r.Fail("bad flags of a residency")
	}
	out := &Residency{Withheld: flags&flagWithheld != 0, Lost: flags&flagLost != 0}
	out.Regions = make([]string, r.Count(MaxRegionPatterns, 2))
	for i := range out.Regions {
		out.Regions[i] = string(r.Bytes(MaxRegionPattern))
	}
	if out.Withheld {
		out.Fingerprint = [FingerprintSize]byte(r.Fixed(FingerprintSize))
	} else {
		out.Blind = [BlindSize]byte(r.Fixed(BlindSize))
	}
	return out
}

func (c *Change) checkResidency() error {
	r := c.Residency
	if r == nil {
		return nil
	}
	if err := CheckRegions(r.Regions); err != nil {
		return err
	}
	switch {
	case r.Withheld && (len(c.Mutations) > 0 || c.Request != nil || !c.Trace.IsZero() || r.Blind != [BlindSize]byte{}):
		return fmt.Errorf("%w: the placeholder of change %v says what it does", ErrCorrupt, c.Dot)
	case !r.Withheld && (r.Lost || r.Fingerprint != [FingerprintSize]byte{}):
		return fmt.Errorf("%w: change %v is no placeholder", ErrCorrupt, c.Dot)
	}
	return nil
}

// Withhold returns the encoded placeholder of an encoded change; one is its own
// placeholder, marked as lost or not as is asked for. Changes that all regions
// hold have none. Errors wrap ErrCorrupt.
func Withhold(encoded []byte, lost bool) ([]byte, error) {
	c, rest, err := DecodeChange(encoded)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 || c.Residency == nil {
		return nil, fmt.Errorf("%w: change %v has no placeholder", ErrCorrupt, c.Dot)
	}
	r := &Residency{Regions: c.Residency.Regions, Withheld: true, Fingerprint: c.Residency.Fingerprint, Lost: lost}
	if !c.Residency.Withheld {
		r.Fingerprint = sha256.Sum256(encoded)
	}
	return (&Change{Header: c.Header, Residency: r}).AppendBinary(nil)
}

// FormFor returns an encoded change as a region of that name may have it.
func FormFor(encoded []byte, region string) ([]byte, error) {
	if len(encoded) == 0 || encoded[0]&flagResidency == 0 {
		return encoded, nil
	}
	r := NewReader(encoded[1:])
	if encoded[0]&flagTraced != 0 {
		r.Fixed(traceSize)
	}
	residency := readResidency(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if residency.Withheld || residency.HeldBy(region) {
		return encoded, nil
	}
	return Withhold(encoded, false)
}

// Imprint is what stands for an encoded change where regions compare whether
// theirs are the same (I1): both forms have the same one. It is the encoding
// itself if all regions hold the change.
func Imprint(encoded []byte) ([]byte, error) {
	if len(encoded) == 0 || encoded[0]&flagResidency == 0 {
		return encoded, nil
	}
	return Withhold(encoded, false)
}
