package conflict

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meridiandb/meridian/crdt/value"
)

// QuestionVersion is the version of the body of requests to webhooks.
const QuestionVersion = 1

// Bounds of an answer.
const (
	// MaxAnswerBytes is the greatest size of a webhook's answer.
	MaxAnswerBytes = 1 << 20
	// MaxAnswerReason is how much is kept of an answer's reason, in bytes.
	MaxAnswerReason = 400
)

// A Question is what a callback is asked: what to make of versions of which no
// writer had seen another's.
type Question struct {
	// ID names the conflict, the same in every region and at every try: a hash
	// of the document, the place in it and the dots of the versions. Whoever is
	// asked twice under one id should answer the same.
	ID string
	// Attempt counts the tries since the region took the conflict up, from 1.
	Attempt int
	// Cluster and Region ask.
	Cluster, Region string
	// Collection, Document and Path say what it is about. Path is the JSON
	// pointer of a field, "" for the whole document.
	Collection, Document, Path string
	// Type is that of the collection: "document", "register" or "automerge".
	Type string
	// Versions are in canonical order: by stamp, least first.
	Versions []Version
}

// Clone returns a copy that shares no values.
func (q *Question) Clone() Question {
	out := *q
	out.Versions = slices.Clone(q.Versions)
	for i := range out.Versions {
		out.Versions[i].Value = value.Clone(out.Versions[i].Value)
	}
	return out
}

// MarshalJSON writes the body of the request to a webhook.
func (q *Question) MarshalJSON() ([]byte, error) {
	versions := make([]any, len(q.Versions))
	for i := range q.Versions {
		v := &q.Versions[i]
		m := map[string]any{
			"dot": v.Dot.String(), "region": v.Region, "replica": v.Dot.Replica.String(),
			"stamp": v.Stamp.String(), "millis": v.Stamp.Time().UnixMilli(),
			"time":    v.Stamp.Time().Format("2006-01-02T15:04:05.000Z"),
			"deleted": v.Deleted, "answer": v.Answer, "value": v.Value,
		}
		versions[i] = m
	}
	return value.Append(nil, map[string]any{
		"version": int64(QuestionVersion), "id": q.ID, "attempt": int64(q.Attempt),
		"cluster": q.Cluster, "region": q.Region,
		"collection": q.Collection, "document": q.Document, "path": q.Path, "type": q.Type,
		"versions": versions,
	}, value.Options{}), nil
}

// AnswerKind says what is to be done about a conflict.
type AnswerKind string

// The kinds of answer.
const (
	// AnswerValue: the value is written over the versions.
	AnswerValue AnswerKind = "value"
	// AnswerKeep: the versions stay side by side, for a client to resolve.
	AnswerKeep AnswerKind = "keep"
	// AnswerDelete: the document, or the field, is deleted.
	AnswerDelete AnswerKind = "delete"
)

// An Answer is what a callback says.
type Answer struct {
	Kind AnswerKind
	// Value is a JSON value as package value has them, for AnswerValue. For a
	// whole document it must be an object.
	Value any
	// Reason is for the explanation, "" if there is none.
	Reason string
}

// ErrBadAnswer is wrapped by errors about answers that are none.
var ErrBadAnswer = errors.New("not an answer")

// Check reports what is wrong with an answer to q.
func (a *Answer) Check(q *Question) error {
	switch a.Kind {
	case AnswerKeep, AnswerDelete:
		return nil
	case AnswerValue:
		if err := value.Check(a.Value, value.DefaultLimits); err != nil {
			return fmt.Errorf("%w: %w", ErrBadAnswer, err)
		}
		if _, ok := a.Value.(map[string]any); !ok && q.Path == "" {
			return fmt.Errorf("%w: the value of a whole document is a JSON object", ErrBadAnswer)
		}
		return nil
	}
	return fmt.Errorf("%w: a kind %.20q; there are value, keep and delete", ErrBadAnswer, a.Kind)
}

const answerUsage = `{"value": …}, {"keep": true} or {"delete": true}, with a "reason" if you like`

// ParseAnswer reads the body of a webhook's answer: {"value": …}, {"keep": true}
// or {"delete": true}, each with a "reason" if there is one. Errors wrap ErrBadAnswer.
func ParseAnswer(body []byte) (Answer, error) {
	bad := func(why string) (Answer, error) {
		return Answer{}, fmt.Errorf("%w: %s; it must be %s", ErrBadAnswer, why, answerUsage)
	}
	if len(body) > MaxAnswerBytes {
		return bad(fmt.Sprintf("more than %d bytes", MaxAnswerBytes))
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return bad("no JSON object")
	}
	var a Answer
	for name, raw := range members {
		kind := AnswerKind(name)
		switch name {
		case "reason":
			if err := json.Unmarshal(raw, &a.Reason); err != nil {
				return bad("reason is no string")
			}
			continue
		case "value":
			v, err := value.Parse(raw, value.DefaultLimits)
			if err != nil {
				return bad(err.Error())
			}
			a.Value = v
		case "keep", "delete":
			if string(raw) != "true" {
				return bad(name + " is not true")
			}
		default:
			return bad(fmt.Sprintf("there is no member %.40q", name))
		}
		if a.Kind != "" {
			return bad("it says two things")
		}
		a.Kind = kind
	}
	if a.Kind == "" {
		return bad("it says nothing")
	}
	a.Reason = ShortReason(a.Reason)
	return a, nil
}

// ShortReason makes one line of bounded length of what an application says.
func ShortReason(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) > MaxAnswerReason {
		s = s[:MaxAnswerReason]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return s
}
