package proxy

import (
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// auditLog writes each event as one JSON object per line.
type auditLog struct {
	mu     sync.Mutex
	out    io.Writer // nil if there is no audit log
	failed bool      // the last line could not be written
	log    *slog.Logger
	lost   prometheus.Counter
}

// auditLine is an event in the form of the audit log.
type auditLine struct {
	Time            time.Time `json:"time"`
	Event           EventKind `json:"event"`
	Reason          Reason    `json:"reason,omitempty"`
	EndedBy         string    `json:"ended_by,omitempty"`
	Session         string    `json:"session,omitempty"`
	Source          string    `json:"source,omitempty"`
	UUID            string    `json:"uuid,omitempty"`
	Console         string    `json:"console,omitempty"`
	Channel         string    `json:"channel,omitempty"`
	Client          string    `json:"client,omitempty"`
	Viewer          string    `json:"viewer,omitempty"`
	Transport       string    `json:"transport,omitempty"`
	Recording       string    `json:"recording,omitempty"`
	LastedMS        *int64    `json:"lasted_ms,omitempty"`
	BytesFromClient *uint64   `json:"bytes_from_client,omitempty"`
	BytesFromServer *uint64   `json:"bytes_from_server,omitempty"`
	Verdicts        []Verdict `json:"verdicts,omitempty"`
	Error           string    `json:"error,omitempty"`
}

// MarshalJSON returns the event in the form of the audit log.
func (e Event) MarshalJSON() ([]byte, error) {
	line := auditLine{Time: e.Time.UTC(), Event: e.Kind, Reason: e.Reason, EndedBy: e.EndedBy, Session: e.Session,
		Source: e.Source, UUID: e.UUID, Console: e.Console, Channel: e.Channel, Client: e.Client, Viewer: e.Viewer, Transport: e.Transport, Recording: e.Recording, Verdicts: e.Verdicts}
	if e.Kind == EventChannelClosed || e.Kind == EventSessionClosed {
		ms := e.Lasted.Milliseconds()
		line.LastedMS, line.BytesFromClient, line.BytesFromServer = &ms, &e.BytesFromClient, &e.BytesFromServer
	}
	if e.Err != nil {
		line.Error = e.Err.Error()
	}
	return json.Marshal(line)
}

// write appends an event. If that fails, the loss is counted, and the first of several is logged: a
// full disk must not end sessions.
func (a *auditLog) write(e Event) {
	if a.out == nil {
		return
	}
	line, err := json.Marshal(e)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		_, err = a.out.Write(append(line, '\n'))
	}
	if err != nil {
		a.lost.Inc()
		if !a.failed {
			a.log.Error("proxy: the audit log cannot be written", "error", err)
		}
	}
	a.failed = err != nil
}
