package cmd

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A progress shows how far long work has come: a bar on a terminal, otherwise a
// line from time to time. It goes to standard error.
type progress struct {
	out   io.Writer
	bar   *progressbar.ProgressBar // nil if there is no terminal
	quiet bool
	total int64 // in bytes, 0 if not known
	start time.Time

	mu   sync.Mutex
	last time.Time
}

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 5 * time.Second
	barWidth  = 30
)

func (a *app) newProgress(quiet bool, what string, total int64) *progress {
	now := time.Now()
	p := &progress{out: a.err, quiet: quiet, total: total, start: now, last: now}
	if quiet || !isTerminal(a.err) {
		return p
	}
	limit := total
	if limit == 0 {
		limit = -1
	}
	p.bar = progressbar.NewOptions64(limit,
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionShowBytes(true),
		progressbar.OptionThrottle(barEvery),
		progressbar.OptionClearOnFinish(),
	)
	return p
}

// show tells how many documents and bytes are done.
func (p *progress) show(documents int, bytes int64) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%s documents", thousands(documents)))
		_ = p.bar.Set64(bytes) // a bar that cannot be drawn is no reason to stop
		return
	}
	now := time.Now()
	if now.Sub(p.last) < lineEvery {
		return
	}
	p.last = now
	text := thousands(documents) + " documents"
	if p.total > 0 {
		text += fmt.Sprintf(", %d %%", 100*min(bytes, p.total)/p.total)
	}
	fmt.Fprintf(p.out, "%s, %s/s\n", text, thousands(rate(documents, now.Sub(p.start))))
}

// note tells of something on the way.
func (p *progress) note(format string, args ...any) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// waiting is told of each wait for the region.
func (p *progress) waiting(err error, wait time.Duration) {
	p.note("%v; trying again in %v", err, wait)
}

// rate is how many of something there were in a second.
func rate(n int, d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int(float64(n) / d.Seconds())
}

// thousands writes a number in groups of three digits.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
