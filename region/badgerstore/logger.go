package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// A logger hands what Badger says to slog, one level lower: what Badger tells
// by the way is for debugging here.
//
// It also catches a failure that Badger only logs: when the value log cannot be
// synced the commit reports success all the same. The message comes from the
// goroutine that writes, before the commit returns.
type logger struct {
	slog    *slog.Logger
	syncErr atomic.Pointer[string]
}

func (l *logger) log(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if !l.slog.Enabled(ctx, level) {
		return
	}
	l.slog.Log(ctx, level, "badger", "message", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Errorf implements badger.Logger.
func (l *logger) Errorf(format string, args ...any) {
	if isSyncFailure(format) {
		msg := strings.TrimSpace(fmt.Sprintf(format, args...))
		l.syncErr.CompareAndSwap(nil, &msg)
	}
	l.log(slog.LevelError, format, args)
}

func isSyncFailure(format string) bool {
	return strings.HasPrefix(format, "Error while curlf sync")
}

// Warningf implements badger.Logger.
func (l *logger) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }

// Infof implements badger.Logger.
func (l *logger) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

// Debugf implements badger.Logger. Badger calls it several times for every
// commit, with nothing that helps anybody but its authors.
func (l *logger) Debugf(string, ...any) {}
