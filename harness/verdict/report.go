package verdict

// File is the verdict's name in a lane's directory.
const File = "verdict.json"

// A Report is verdict.json: how a lane ended, for programs.
type Report struct {
	// OK tells that nothing failed: the lane was closed and its test, if it had
	// one, passed.
	OK bool `json:"ok"`
	// Verdict says whose fault it is if not; empty for a test that failed in an
	// assertion of its own.
	Verdict Kind `json:"verdict,omitempty"`
	// Hop says where it failed: guest, qemu, proxy, client or path. It is empty if
	// that is not known.
	Hop    Hop    `json:"hop,omitempty"`
	Reason string `json:"reason,omitempty"`
	// State and EndedBy are those of the lane's status.
	State   string `json:"state,omitempty"`
	EndedBy string `json:"ended_by,omitempty"`
	Test    string `json:"test,omitempty"`
	Name    string `json:"name"`
	Fixture string `json:"fixture,omitempty"`
	Accel   string `json:"accel"`
	Warm    bool   `json:"warm"`
	ReadyMS int64  `json:"ready_ms"`
	// UpMS is how long the lane lived, in milliseconds.
	UpMS int64  `json:"up_ms"`
	Dir  string `json:"dir"`
}
