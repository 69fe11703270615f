package sim

import (
	"fmt"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport/wire"
)

// tracef writes a line of the trace, if one is asked for.
func (w *world) tracef(format string, args ...any) {
	if w.opts.Trace != nil {
		fmt.Fprintf(w.opts.Trace, "%10.4fs  %s\n", w.now.Seconds(), w.rename(fmt.Sprintf(format, args...)))
	}
}

// rename replaces replica ids by names such as eu-west.2, which people can read.
func (w *world) rename(s string) string {
	for _, r := range w.replicas {
		s = strings.ReplaceAll(s, r.id.String(), r.name)
	}
	return s
}

func dots(encoded [][]byte) string {
	var b strings.Builder
	for i, e := range encoded {
		if i > 0 {
			b.WriteByte(' ')
		}
		if ch, _, err := crdt.DecodeChange(e); err == nil {
			b.WriteString(ch.Dot.String())
		} else {
			b.WriteString("?")
		}
	}
	return b.String()
}

func describe(m wire.Message) string {
	switch m := m.(type) {
	case wire.Hello:
		return fmt.Sprintf("hello %v have %v", m.Replica, m.Have)
	case wire.Changes:
		return "changes " + dots(m.Changes)
	case wire.Ack:
		return fmt.Sprintf("ack %v", m.Have)
	case wire.Status:
		var b strings.Builder
		b.WriteString("status")
		for _, r := range m.Reports {
			fmt.Fprintf(&b, " %s(%d %v hears %v", r.Region, r.Seq, r.Have, r.Links)
			if len(r.Wants) > 0 {
				b.WriteString(" wants")
			}
			for _, want := range r.Wants {
				fmt.Fprintf(&b, " %v", want.Dot)
			}
			b.WriteByte(')')
		}
		return b.String()
	case wire.Request:
		return fmt.Sprintf("request %d %v", m.ID, m.Spans)
	case wire.CatchUp:
		return fmt.Sprintf("catch-up %d done %v %s %s", m.ID, m.Done, dots(m.Changes), m.Refused)
	}
	return fmt.Sprintf("%T", m)
}

func describeEvent(e core.Event) string {
	switch e := e.(type) {
	case core.Received:
		return "from " + e.Peer + ": " + describe(e.Message)
	case core.Submit:
		return fmt.Sprintf("submit %d %T", e.ID, e.Ask)
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T%+v", e, e), "core.")
	}
}
