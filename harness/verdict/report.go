package verdict

// File is the name of a lane's verdict file.
const File = "verdict.json"

// Values of Report.EndedBy.
const (
	EndedByRequest = "request"
	EndedByGuest   = "guest" // it switched itself off
)

// A Report is the content of verdict.json: how a lane ended, for programs.
type Report struct {
	// OK means that nothing failed: the lane was closed, or its guest switched itself off, and its
	// test, if there was one, passed.
	OK bool `json:"ok"`
	// Verdict says whose fault the failure is. It is empty for a test that failed in its own
	// assertion.
	Verdict Kind `json:"verdict,omitempty"`
	// Hop says where it failed: guest, qemu, proxy, client or path. It is empty if that is unknown.
	Hop    Hop    `json:"hop,omitempty"`
	Reason string `json:"reason,omitempty"`
	// State and EndedBy are as in the lane's status.
	State   string `json:"state,omitempty"`
	EndedBy string `json:"ended_by,omitempty"`
	Test    string `json:"test,omitempty"`
	Name    string `json:"name"`
	Fixture string `json:"fixture,omitempty"`
	Accel   string `json:"accel"`
	Warm    bool   `json:"warm"`
	ReadyMS int64  `json:"ready_ms"`
	// UpMS is how long the lane was up, in milliseconds.
	UpMS int64  `json:"up_ms"`
	Dir  string `json:"dir"`
	// Carried is how often the lane's client was sent each draw type and image codec: "operation
	// draw_copy", "image quic". It is empty if that is not known: if the client was killed, and
	// after the lane has ended by itself until it is closed.
	Carried map[string]uint64 `json:"carried,omitempty"`
}
