package region

// Messages counts the messages that came and went on the region's links.
func (r *Region) Messages() (n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		s := l.Stats()
		n += s.MessagesIn + s.MessagesOut
	}
	return n
}
