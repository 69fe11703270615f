package journal

import (
	"fmt"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
)

// Explain says in words what happened, what was made of it and why, and how
// it stands. It does so by the record alone.
func (r *Record) Explain() string {
	parts := []string{r.happened(), r.decided()}
	parts = append(parts, r.steps()...)
	return strings.Join(append(parts, r.stands()), " ")
}

// steps tell how the callback was asked.
func (r *Record) steps() []string {
	out := make([]string, 0, len(r.Steps)+1)
	for i, s := range r.Steps {
		out = append(out, fmt.Sprintf("At %s %s %s.", time.UnixMilli(s.At).UTC().Format(stampLayout), s.Region, s.What))
		if i == 0 && r.SkippedSteps > 0 {
			out = append(out, fmt.Sprintf("(%d more such steps.)", r.SkippedSteps))
		}
	}
	return out
}

// place names what the conflict is about.
func (r *Record) place() string {
	doc := r.Name + "/" + r.Document
	if r.Whole() {
		return doc
	}
	return fmt.Sprintf("%q of %s", r.Path, doc)
}

func (r *Record) happened() string {
	var parts, deletions, writes []string
	for i := range r.Versions {
		v := &r.Versions[i]
		at := fmt.Sprintf("in %s at %s", v.by(), stampTime(v.Stamp))
		switch {
		case v.Deleted:
			deletions = append(deletions, at)
		case r.Kind == Types:
			at = v.typeName() + " " + at
		}
		if !v.Deleted {
			writes = append(writes, at)
		}
		parts = append(parts, at)
	}
	more := ""
	if r.Unlisted > 0 {
		more = fmt.Sprintf(" (and %d older versions that are not listed)", r.Unlisted)
	}
	switch r.Kind {
	case Deletion, Overruled:
		return fmt.Sprintf("%s was deleted %s and concurrently written to %s%s.", r.place(), enumerate(deletions), enumerate(writes), more)
	case Types:
		return fmt.Sprintf("%s was made %s, concurrently%s.", r.place(), enumerate(parts), more)
	case Values:
	}
	return fmt.Sprintf("%s was written %s, concurrently%s.", r.place(), enumerate(parts), more)
}

// maxInWords is how much of a value is in a sentence.
const maxInWords = 60

func (r *Record) decided() string {
	why := r.Outcome.Why
	switch r.Kind {
	case Overruled:
		return sentence(why)
	case Deletion:
		// A policy is asked only about several writes to a register.
		if r.Type != crdt.TypeRegister.String() || len(r.Versions) == 2 {
			return sentence(why)
		}
	case Values, Types:
	}
	text := fmt.Sprintf("By the policy %s: %s.", r.Policy.Name, why)
	var shown []byte
	if v := r.Version(r.Outcome.Shown); v != nil {
		shown = v.Value
	} else if r.Outcome.Value != nil {
		shown = r.Outcome.Value
	}
	if shown != nil {
		text += " Shown: " + short(string(shown)) + "."
	}
	return text
}

func (r *Record) stands() string {
	s := r.Settled
	switch {
	case r.Kind == Overruled && s == nil:
		return "What was written is kept in this record."
	case s == nil && r.Outcome.Pending:
		return "The callback is still to decide."
	case s == nil && r.State == Open:
		return "The choice is open: a write that has seen the versions settles it."
	case s == nil:
		return "The versions that are not shown stay until a later write covers them."
	}
	if s.Answer {
		return r.answered()
	}
	by := fmt.Sprintf("%s's write at %s", regionOr(s.Region, s.By), stampTime(s.Stamp))
	if s.Deleted {
		by = fmt.Sprintf("%s's deletion at %s", regionOr(s.Region, s.By), stampTime(s.Stamp))
	}
	switch {
	case r.State == Undone:
		whose := "a version"
		if v := r.Version(s.Restored); v != nil && v.Deleted {
			return fmt.Sprintf("%s repeated %s's.", by, v.by())
		} else if v != nil {
			whose = v.by() + "'s version"
		}
		return fmt.Sprintf("%s brought back %s.", by, whose)
	case !s.Next.IsZero():
		return fmt.Sprintf("%s covered some of the versions; the others are in conflict %s.", by, s.Next)
	}
	return by + " covered all versions."
}

// answered says how an answer of the callback ended the conflict.
func (r *Record) answered() string {
	s := r.Settled
	did := "answer of the callback"
	if s.Deleted {
		did = "deletion, which is the answer of the callback,"
	}
	text := fmt.Sprintf("%s's %s at %s", regionOr(s.Region, s.By), did, stampTime(s.Stamp))
	if !s.Next.IsZero() {
		return fmt.Sprintf("%s covered some of the versions; the others are in conflict %s.", text, s.Next)
	}
	return text + " covered all versions."
}

func (v *Version) by() string { return regionOr(v.Region, v.Dot) }

func regionOr(name string, d crdt.Dot) string {
	if name == "" {
		return "replica " + d.Replica.String()
	}
	return name
}

func (v *Version) typeName() string {
	x, err := Decode(v.Value)
	if err != nil {
		return "something large"
	}
	switch y := x.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	default:
		return structure(y)
	}
}

const stampLayout = "2006-01-02 15:04:05.000"

// stampTime is the time of a stamp for people, and its logical part if it has one.
func stampTime(s crdt.Stamp) string {
	text := s.Time().Format(stampLayout)
	if s.Logical() > 0 {
		text += fmt.Sprintf("+%d", s.Logical())
	}
	return text
}

func enumerate(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// sentence makes a sentence of a reason.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func short(s string) string {
	r := []rune(s)
	if len(r) <= maxInWords {
		return s
	}
	return string(r[:maxInWords-1]) + "…"
}
