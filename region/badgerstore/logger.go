package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// A logger hands what Badger says to slog; what Badger tells by the way is for
// debugging here.
type logger struct{ slog *slog.Logger }

func (l logger) log(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if !l.slog.Enabled(ctx, level) {
		return
	}
	l.slog.Log(ctx, level, "badger", "message", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Errorf implements badger.Logger.
func (l logger) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

// Warningf implements badger.Logger.
func (l logger) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }

// Infof implements badger.Logger.
func (l logger) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

// Debugf implements badger.Logger. Badger calls it several times for every
// commit, with nothing that helps anybody but its authors.
func (l logger) Debugf(string, ...any) {}
