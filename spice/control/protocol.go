package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"maps"
	"slices"
)

// Version is the protocol version that both halves speak.
const Version = "1.2"

// Limits of the protocol.
const (
	// MaxRequestLine is the longest request line that the server reads, in bytes, without its
	// newline. A longer line is skipped and answered bad_params.
	MaxRequestLine = 1 << 20

	// QueueLen is how many events are queued for a client that reads slowly. When another one
	// comes, the oldest is dropped and counted.
	QueueLen = 256

	// MaxSocketPath is the longest path of a Unix socket in bytes: sun_path of
	// sockaddr_un has 108, the last of them for the terminating zero.
	MaxSocketPath = 107
)

// Methods of protocol 1.2.
const (
	MethodHello       = "hello"
	MethodStatus      = "status"
	MethodSendKey     = "send_key"
	MethodPaste       = "paste"
	MethodScreenshot  = "screenshot"
	MethodSubscribe   = "subscribe"
	MethodUnsubscribe = "unsubscribe"
)

// Methods beyond protocol 1.2.
const (
	MethodDigest       = "digest"
	MethodAwait        = "await"
	MethodMatch        = "match"
	MethodType         = "type"
	MethodMouseMove    = "mouse_move"
	MethodMouseButton  = "mouse_button"
	MethodMouseWheel   = "mouse_wheel"
	MethodClipboardGet = "clipboard_get"
	MethodClipboardSet = "clipboard_set"
	MethodSetDisplay   = "set_display"
	MethodCursor       = "cursor"
	MethodStats        = "stats"
	MethodRecordStart  = "record_start"
	MethodRecordStop   = "record_stop"
	MethodDisconnect   = "disconnect"
	MethodReconnect    = "reconnect"
)

// Events of protocol 1.2.
const (
	EventLatency        = "latency"
	EventAgentConnected = "agent_connected"
	EventPasteCompleted = "paste_completed"
	EventPasteFailed    = "paste_failed"
	EventDropped        = "dropped"
	EventSurfaceDrawn   = "surface_drawn"
	EventDigestUpdated  = "digest_updated"
)

// Code is a stable error code of the protocol.
type Code string

// Error codes of protocol 1.2.
const (
	CodeNoHelloYet        Code = "no_hello_yet"
	CodeVersionMismatch   Code = "protocol_version_mismatch"
	CodeBusy              Code = "busy"
	CodeUnknownMethod     Code = "unknown_method"
	CodeBadParams         Code = "bad_params"
	CodeBadState          Code = "bad_state"
	CodeAgentNotConnected Code = "agent_not_connected"
	CodeNoSuchSurface     Code = "no_such_surface"
	CodeUnsupportedFormat Code = "unsupported_format"
	CodeNotImplemented    Code = "not_implemented"
	CodeInternal          Code = "internal_error"
)

// Error codes beyond protocol 1.2.
const (
	// CodeNoDigest answers digest if the screen has no readable digest.
	CodeNoDigest Code = "no_digest"
	// CodeTimeout answers await if the condition was not met in time, and clipboard_get if the
	// guest did not send its text. For await, the data says what was seen last.
	CodeTimeout Code = "timeout"
	// CodeDisconnected answers verbs that need the session after it has ended.
	CodeDisconnected Code = "disconnected"
	// CodeUnmappable answers type when the layout lacks a character. Nothing
	// has been typed; the message names the characters.
	CodeUnmappable Code = "unmappable"
	// CodeMouseMode answers mouse_move if the guest accepts only the other kind of moves.
	CodeMouseMode Code = "wrong_mouse_mode"
	// CodeRecording answers record_start during a recording, and record_stop without one.
	CodeRecording Code = "wrong_recording_state"
)

// Error is an error answer of the protocol, as the server sends it and the
// driver returns it.
type Error struct {
	// Method is the verb that was answered; empty if no request was answered.
	Method string `json:"-"`
	// Code is stable; programs may check it.
	Code Code `json:"code"`
	// Message is for people.
	Message string `json:"message"`
	// Data has details of some of our verbs, for example what an await saw last. It is nil for the
	// verbs of protocol 1.2.
	Data json.RawMessage `json:"data,omitempty"`
}

// Error says which verb was refused, with which code, and why.
func (e *Error) Error() string {
	if e.Method == "" {
		return fmt.Sprintf("control: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("control: %s: %s: %s", e.Method, e.Code, e.Message)
}

// Is makes errors.Is(err, &Error{Code: CodeBusy}) match by the code alone, or by method and code if
// the target names a method.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Method == "" || t.Method == e.Method)
}

// ID is a request's id as it was on the wire: a JSON integer or a JSON string. The server repeats
// it byte for byte. Nil is no id.
type ID = json.RawMessage

// Request is one request line.
type Request struct {
	ID     ID              `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// Response is one response line. ID is nil if the request had none that could be read, and in the
// busy answer.
type Response struct {
	ID     ID              `json:"id,omitempty"`
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// Event is one event line.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Decode decodes the event's data into v, one of the …Data types.
func (e Event) Decode(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("control: event %s: %w", e.Name, err)
	}
	return nil
}

// HelloParams are the params of hello.
type HelloParams struct {
	ClientName      string `json:"client_name"`
	ProtocolVersion string `json:"protocol_version"`
}

// HelloResult is the result of hello.
type HelloResult struct {
	ServerName       string   `json:"server_name"`
	ProtocolVersion  string   `json:"protocol_version"`
	SupportedMethods []string `json:"supported_methods"`
	SupportedEvents  []string `json:"supported_events"`
}

// Status is the result of status. The first three fields are protocol 1.2; the others are ours, and
// other servers omit them.
type Status struct {
	SPICEConnected bool      `json:"spice_connected"`
	AgentConnected bool      `json:"agent_connected"`
	Surfaces       []Surface `json:"surfaces"`

	// HadSurface means that the session has had a surface, so that a missing one means a mode
	// change. It is not on the wire.
	HadSurface bool `json:"-"`

	// Session is the console's connection id in hex, empty while there is none.
	Session string `json:"session,omitempty"`
	// GuestName is the machine's name, from its server.
	GuestName string `json:"guest_name,omitempty"`
	// MouseMode is "server" (relative moves) or "client" (absolute ones).
	MouseMode string `json:"mouse_mode,omitempty"`
	// Locks are the lock keys that are on in the guest, from its last report; nil if unknown.
	Locks *Locks `json:"locks,omitempty"`
	// Channels are the open channels, for example "display:0".
	Channels []string `json:"channels,omitempty"`
	// Messages counts the messages received since the session began.
	Messages uint64 `json:"messages,omitempty"`
	// Unsupported lists what the client received and could not carry out. A surface that such a
	// message touched is not trusted.
	Unsupported []Unsupported `json:"unsupported,omitempty"`
	// Error says why the session ended, if it has.
	Error string `json:"error,omitempty"`
	// Digest counts the results of reading the digest's region since this client first subscribed
	// to digest_updated, or used digests in await or type. It is nil before that.
	Digest *DigestCounts `json:"digest,omitempty"`
}

// Locks are lock keys that are on.
type Locks struct {
	Caps   bool `json:"caps"`
	Num    bool `json:"num"`
	Scroll bool `json:"scroll"`
}

// Surface is one display surface.
type Surface struct {
	ChannelID uint8  `json:"channel_id"`
	SurfaceID uint32 `json:"surface_id"`
	Width     int    `json:"width"`
	Height    int    `json:"height"`
	// Trusted is false after a drawing on the surface could not be decoded. Nil from servers that
	// do not report it.
	Trusted *bool `json:"trusted,omitempty"`
}

// Unsupported is a kind of message or image that could not be carried out, and how often it came.
type Unsupported struct {
	What  string `json:"what"`
	Count uint64 `json:"count"`
}

// DigestCounts counts the results of reading changed pixels in the digest's region.
type DigestCounts struct {
	// Decoded counts digests, including those with an unchanged frame counter.
	Decoded uint64 `json:"decoded"`
	// Damaged counts clipped or half-drawn codes, which are reported nowhere else.
	Damaged uint64 `json:"damaged"`
	// Absent counts changes of the region that showed no code.
	Absent uint64 `json:"absent"`
}

// KeyState says what send_key does with a key.
type KeyState string

// The states of send_key.
const (
	Down  KeyState = "down"
	Up    KeyState = "up"
	Press KeyState = "press" // down, then up
)

// SendKeyParams are the params of send_key.
type SendKeyParams struct {
	// Scancode is the AT set 1 make code: 0x01–0x7f, or with the prefix in the high byte,
	// 0xe001–0xe07f. For "up" the break bit may be set.
	Scancode uint16   `json:"scancode"`
	State    KeyState `json:"state"`
}

// PasteParams are the params of paste.
type PasteParams struct {
	Text string `json:"text"`
	// CharDelayMS is the pause between characters in milliseconds, 10 if nil.
	CharDelayMS *uint32 `json:"char_delay_ms,omitempty"`
	// Via is "keys" (the default) or "clipboard". Ours.
	Via string `json:"via,omitempty"`
}

// ScreenshotParams are the params of screenshot.
type ScreenshotParams struct {
	// SurfaceID is the surface; nil is the primary one.
	SurfaceID *uint32 `json:"surface_id,omitempty"`
	// Format is "png" (also if empty) or "rgba".
	Format string `json:"format,omitempty"`
	// ChannelID is the display channel; nil is that of the primary surface. Ours.
	ChannelID *uint8 `json:"channel_id,omitempty"`
	// Region selects a part; nil is everything. Ours.
	Region *Rect `json:"region,omitempty"`
	// Cursor draws the pointer into the picture. Ours.
	Cursor bool `json:"cursor,omitempty"`
}

// Rect is a rectangle in pixels, origin top left.
type Rect struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

// Rectangle returns r as an [image.Rectangle]. It is empty if r has no width or height.
func (r Rect) Rectangle() image.Rectangle {
	at := image.Pt(r.X, r.Y)
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(r.Width, r.Height))}
}

// ScreenshotResult is the result of screenshot.
type ScreenshotResult struct {
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Format string `json:"format"`
	// Data is a PNG file, or pixels in the byte order R, G, B, A, rows top down without padding, A
	// always 255.
	Data []byte `json:"data_base64"`
}

// SubscribeParams are the params of subscribe and unsubscribe.
type SubscribeParams struct {
	Events []string `json:"events"`
}

// SubscribeResult is the result of subscribe.
type SubscribeResult struct {
	Subscribed []string `json:"subscribed"`
}

// UnsubscribeResult is the result of unsubscribe.
type UnsubscribeResult struct {
	Unsubscribed []string `json:"unsubscribed"`
}

// LatencyData is the data of latency: the interval between two pings of the
// server, not a round trip.
type LatencyData struct {
	SampleMS    float64 `json:"sample_ms"`
	WallclockUS int64   `json:"wallclock_us"`
}

// AgentConnectedData is the data of agent_connected.
type AgentConnectedData struct {
	Connected bool `json:"connected"`
}

// PasteCompletedData is the data of paste_completed.
type PasteCompletedData struct {
	RequestID ID     `json:"request_id"`
	CharsSent uint32 `json:"chars_sent"`
}

// PasteFailedData is the data of paste_failed.
type PasteFailedData struct {
	RequestID ID     `json:"request_id"`
	Reason    string `json:"reason"`
}

// DroppedData is the data of dropped.
type DroppedData struct {
	Count uint32 `json:"count"`
}

// SurfaceDrawnData is the data of surface_drawn. Rect and Op are ours.
type SurfaceDrawnData struct {
	DisplayChannelID uint8   `json:"display_channel_id"`
	SurfaceID        uint32  `json:"surface_id"`
	ProducedAtSecs   float64 `json:"produced_at_secs"`
	WallclockUS      int64   `json:"wallclock_us"`
	Rect             *Rect   `json:"rect,omitempty"`
	Op               string  `json:"op,omitempty"`
}

// ErrNoDigest is wrapped by errors of a server's digest scanner when the picture has no code.
var ErrNoDigest = errors.New("control: no digest in the picture")

// Digest is the guest's report about itself in its QR code: the data of digest_updated, and the
// result of digest. A server's digest scanner fills the first four fields; the server sets the
// others.
type Digest struct {
	FrameCounter    uint32 `json:"frame_counter"`
	FramebufferHash uint32 `json:"framebuffer_hash"`
	// Events are the newest events, oldest first, each an object with one
	// snake_case key, for example {"keypress":{"scancode":0,"timestamp_ms":5,"unicode":"a"}}.
	Events []json.RawMessage `json:"events"`
	// ChannelHashes are the rolling hashes of all events since the guest
	// booted, by the event's key. Ours.
	ChannelHashes map[string]uint32 `json:"channel_hashes,omitempty"`

	WallclockUS int64 `json:"wallclock_us"`
	// DrawnAtUS is when the last of the pixels arrived, in microseconds since
	// the Unix epoch. Ours.
	DrawnAtUS int64 `json:"drawn_at_us,omitempty"`
	// DecodeUS is how long decoding took, in microseconds. Ours.
	DecodeUS int64 `json:"decode_us,omitempty"`
}

// SameFrame tells whether d and other are of the same frame of the guest. A guest that has been reset
// counts its frames anew, so the counter alone does not say that.
func (d Digest) SameFrame(other Digest) bool {
	return d.FrameCounter == other.FrameCounter && d.FramebufferHash == other.FramebufferHash &&
		maps.Equal(d.ChannelHashes, other.ChannelHashes) && slices.EqualFunc(d.Events, other.Events, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
}

// Primary returns the primary surface: surface 0 of the lowest display channel. It
// returns false if there is none.
func (st Status) Primary() (Surface, bool) {
	var best Surface
	found := false
	for _, sf := range st.Surfaces {
		if sf.SurfaceID == 0 && (!found || sf.ChannelID < best.ChannelID) {
			best, found = sf, true
		}
	}
	return best, found
}
