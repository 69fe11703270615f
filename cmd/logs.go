package cmd

import (
	"errors"
	"io"
	"log/slog"
)

// A logLevel is a flag.
type logLevel struct{ slog.Level }

func (l *logLevel) Set(s string) error {
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return errors.New("choose debug, info, warn or error")
	}
	return nil
}

func (l *logLevel) String() string {
	b, _ := l.MarshalText()
	return string(lower(b))
}

func lower(b []byte) []byte {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

func (*logLevel) Type() string { return "level" }

// A logFormat is a flag.
type logFormat string

const (
	logText logFormat = "text"
	logJSON logFormat = "json"
)

func (f *logFormat) Set(s string) error {
	switch v := logFormat(s); v {
	case logText, logJSON:
		*f = v
		return nil
	}
	return errors.New("choose text or json")
}

func (f *logFormat) String() string { return string(*f) }
func (*logFormat) Type() string     { return "format" }

func newLogger(w io.Writer, format logFormat, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == logJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
