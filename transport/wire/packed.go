package wire

import "sync"

// A Packed is a message that is sent on several links: its frame is made once,
// by the first that sends it. Nobody receives one: what is read is the message.
type Packed struct {
	Message
	once  sync.Once
	frame []byte
}

// Pack lets m be encoded once for all the links that it is sent on. It must not
// change any more.
func Pack(m Message) *Packed { return &Packed{Message: m} }

// pack returns the message's frame.
func (p *Packed) pack(e *Encoder) []byte {
	p.once.Do(func() { p.frame = e.AppendFrame(nil, p.Message) })
	return p.frame
}

// AppendFrames appends messages, which must have passed Check, and must not
// exceed MaxMessage together unless there is one only: in one frame, but for
// packed ones that are large enough to be compressed. Each of these has its own.
func (e *Encoder) AppendFrames(b []byte, messages ...Message) []byte {
	start := 0
	for i, m := range messages {
		p, ok := m.(*Packed)
		if !ok || e.above < 0 || Size(m) < e.above {
			continue
		}
		if start < i {
			b = e.AppendFrame(b, messages[start:i]...)
		}
		b = append(b, p.pack(e)...)
		start = i + 1
	}
	if start < len(messages) {
		b = e.AppendFrame(b, messages[start:]...)
	}
	return b
}
