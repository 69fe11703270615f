package api

import (
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// An object is a JSON object of a request's body being taken apart. It
// remembers the first thing that is wrong, with a pointer to it.
type object struct {
	m     map[string]any
	at    string // pointer to the object
	known []string
	err   error
}

func (o *object) fail(k *kind, name, format string, args ...any) {
	if o.err != nil {
		return
	}
	p := problemf(k, format, args...)
	p.pointer = o.at
	if name != "" {
		p.pointer += value.Pointer{name}.String()
	}
	o.err = p
}

// wrap says where in the body an error is that knows only the member's value.
func (o *object) wrap(name string, err error) error {
	k, p := problemOf(err)
	e := &problemError{kind: k, detail: p.Detail, pointer: o.at}
	if name != "" {
		e.pointer += value.Pointer{name}.String()
	}
	e.pointer += p.Pointer
	return e
}

// has returns a member, if there is one.
func (o *object) has(name string) (any, bool) {
	o.known = append(o.known, name)
	v, ok := o.m[name]
	return v, ok
}

// required returns a member that must be there.
func (o *object) required(name string) any {
	v, ok := o.has(name)
	if !ok {
		o.fail(malformedRequest, "", "%q is missing", name)
	}
	return v
}

// document returns a member that must be a JSON object.
func (o *object) document(name string) map[string]any {
	m, ok := o.required(name).(map[string]any)
	if !ok {
		o.fail(notObject, name, "%q must be a JSON object", name)
	}
	return m
}

// text returns a member that must be a string if it is there.
func (o *object) text(name string) string {
	v, ok := o.has(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		o.fail(malformedRequest, name, "%q must be a string", name)
	}
	return s
}

// yes returns a member that must be true if it is there.
func (o *object) yes(name string) bool {
	v, ok := o.has(name)
	if ok && v != true {
		o.fail(malformedRequest, name, "%q is true, or is left out", name)
	}
	return ok
}

// list returns a member that must be an array.
func (o *object) list(name string) []any {
	l, ok := o.required(name).([]any)
	if !ok {
		o.fail(malformedRequest, name, "%q must be an array", name)
	}
	return l
}

// done fails for members that nothing has asked for, and returns the first failure.
func (o *object) done() error {
	if o.err != nil {
		return o.err
	}
	for name := range o.m {
		if !slices.Contains(o.known, name) {
			o.fail(malformedRequest, "", "there is no member %.80q here, only %s", name, strings.Join(o.known, ", "))
		}
	}
	return o.err
}

func appendString(b []byte, s string) []byte { return value.AppendString(b, s) }

func appendBool(b []byte, v bool) []byte { return value.Append(b, v, value.Options{}) }

// appendDotAndStamp appends what names a change, as members of an object.
func appendDotAndStamp(b []byte, d crdt.Dot, s crdt.Stamp) []byte {
	b = append(b, `"dot":"`...)
	b = d.Append(b)
	b = append(b, `","stamp":"`...)
	b = s.Append(b)
	return append(b, '"')
}
