package runtime

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

// watermillLogger hands Watermill's lines to slog. Its chatter about starting and stopping is Debug here, and fields
// are not converted for a level that is off.
type watermillLogger struct {
	watermill.LoggerAdapter
	log *slog.Logger
}

func newWatermillLogger(log *slog.Logger) watermill.LoggerAdapter {
	return watermillLogger{watermill.NewSlogLogger(log), log}
}

func (l watermillLogger) Info(msg string, f watermill.LogFields) { l.Debug(msg, f) }

func (l watermillLogger) Debug(msg string, f watermill.LogFields) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.LoggerAdapter.Debug(msg, f)
	}
}

func (l watermillLogger) Trace(msg string, f watermill.LogFields) {
	if l.log.Enabled(context.Background(), watermill.LevelTrace) {
		l.LoggerAdapter.Trace(msg, f)
	}
}

func (l watermillLogger) With(f watermill.LogFields) watermill.LoggerAdapter {
	return watermillLogger{l.LoggerAdapter.With(f), l.log}
}
