package control

// MouseMoveParams are the params of mouse_move.
type MouseMoveParams struct {
	X int `json:"x"`
	Y int `json:"y"`
	// Relative means that X, Y are distances.
	Relative bool `json:"relative,omitempty"`
	// ChannelID is the display of X, Y; nil is the primary one.
	ChannelID *uint8 `json:"channel_id,omitempty"`
}

// MouseButtonParams are the params of mouse_button.
type MouseButtonParams struct {
	// Button is left, middle, right, side or extra.
	Button string   `json:"button"`
	State  KeyState `json:"state"`
}

// MouseWheelParams are the params of mouse_wheel.
type MouseWheelParams struct {
	// Steps is how far to turn the wheel, positive away from the user, from -100 to 100.
	Steps int `json:"steps"`
}

// ClipboardText is the params of clipboard_set and the result of clipboard_get.
type ClipboardText struct {
	Text string `json:"text"`
}

// ClipboardGetParams are the params of clipboard_get.
type ClipboardGetParams struct {
	// TimeoutMS is how long to wait for the guest in milliseconds, 5000 if nil.
	TimeoutMS *uint32 `json:"timeout_ms,omitempty"`
}

// SetDisplayParams are the params of set_display, in pixels.
type SetDisplayParams struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

// CursorResult is the result of cursor.
type CursorResult struct {
	Visible bool `json:"visible"`
	// X, Y is the hot spot's position on the display.
	X int `json:"x"`
	Y int `json:"y"`
	// HotX, HotY is the hot spot's position in the shape.
	HotX int `json:"hot_x"`
	HotY int `json:"hot_y"`
	// Width and Height are the shape's size.
	Width  int `json:"width"`
	Height int `json:"height"`
	// MovedTo is where mouse_move last moved the pointer, even if the guest ignored that. It is nil
	// before the first move, and after a relative move.
	MovedTo *Point `json:"moved_to,omitempty"`
	// Data is the shape as a PNG file; nil if there is none.
	Data []byte `json:"data_base64,omitempty"`
}

// RecordStartParams are the params of record_start.
type RecordStartParams struct {
	// Dir is the absolute path of a directory on the server's host. It is created if necessary, and
	// must not contain a recording.
	Dir string `json:"dir"`
}

// RecordStopResult is the result of record_stop.
type RecordStopResult struct {
	// Dir is the directory that record_start was given.
	Dir string `json:"dir"`
	// Files are the names of the recorded files in Dir, and Bytes their total size.
	Files []string `json:"files"`
	Bytes int64    `json:"bytes"`
}

// TypeParams are the params of type.
type TypeParams struct {
	Text string `json:"text"`
	// Layout is the guest's keyboard: us (also if empty), uk, de or fr.
	Layout string `json:"layout,omitempty"`
	// DelayMS is the pause between characters in milliseconds, 10 if nil, 0
	// with Confirm.
	DelayMS *uint32 `json:"delay_ms,omitempty"`
	// Confirm sends the next character only when the guest's digest has shown
	// the last one.
	Confirm bool `json:"confirm,omitempty"`
	// ConfirmMS is how long to wait for that in milliseconds, 2000 if nil.
	ConfirmMS *uint32 `json:"confirm_ms,omitempty"`
}

// TypeResult is the result of type. Without Confirm, only the first two fields are set, and
// Anomalies if the keyboard could not be restored.
type TypeResult struct {
	// CharsSent is the number of characters typed, KeysSent the number of key events, down and up.
	CharsSent int `json:"chars_sent"`
	KeysSent  int `json:"keys_sent"`
	// Seen is the number of characters that the guest showed in time and in order.
	Seen int `json:"seen"`
	// Lost is the number of characters that the guest did not show.
	Lost int `json:"lost"`
	// Reordered is the number of characters that the guest showed after a later one.
	Reordered int `json:"reordered"`
	// Unexpected is the number of key presses that the guest showed and nobody had sent.
	Unexpected int `json:"unexpected"`
	// Latency is the time from sending a character to the arrival of the pixels that show it.
	Latency *Percentiles `json:"latency,omitempty"`
	// Anomalies describe the first lost, reordered or unexpected characters, and a keyboard that
	// could not be restored to its state before the text.
	Anomalies []string `json:"oddities,omitempty"`
}

// Percentiles summarise durations, in milliseconds.
type Percentiles struct {
	P50MS float64 `json:"p50_ms"`
	P95MS float64 `json:"p95_ms"`
	P99MS float64 `json:"p99_ms"`
	MaxMS float64 `json:"max_ms"`
}
