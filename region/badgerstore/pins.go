package badgerstore

// A pin holds a version: compactions keep what can be read at it.
type pin struct {
	ts         uint64
	refs       int
	prev, next *pin
}

// A pinList is the versions that are held, oldest first.
type pinList struct {
	first, last *pin
}

// hold takes a reference to the pin of ts, which is at least the newest one.
func (l *pinList) hold(ts uint64) *pin {
	if l.last != nil && l.last.ts == ts {
		l.last.refs++
		return l.last
	}
	p := &pin{ts: ts, refs: 1, prev: l.last}
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
	return p
}

// release drops a reference. It reports whether the oldest held version changed.
func (l *pinList) release(p *pin) bool {
	if p.refs--; p.refs > 0 {
		return false
	}
	oldest := p.prev == nil
	if oldest {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	return oldest
}

// oldest is the oldest held version, or now if none is held.
func (l *pinList) oldest(now uint64) uint64 {
	if l.first == nil {
		return now
	}
	return l.first.ts
}
