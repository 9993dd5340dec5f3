package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// EventLog writes one JSON line for each event: {"time": RFC 3339 with microseconds, "event": …, …}.
type EventLog struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *EventLog) Write(event string, fields map[string]any) {
	line := map[string]any{"time": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), "event": event}
	for name, value := range fields {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // only plain values are ever passed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.out.Write(append(text, '\n'))
}
