package demo

import "strings"

// notesPath is where the page with notes in two regions is.
const notesPath = "notes"

// notesURL is the address of the page, with the regions that it opens.
func (w *walk) notesURL() string {
	hosts := make([]string, len(w.urls))
	for i, url := range w.urls {
		hosts[i] = w.names[i] + "@" + strings.TrimPrefix(url, "http://")
	}
	return w.urls[here] + "/" + notesPath + "/?regions=" + strings.Join(hosts[:there+1], ",")
}
