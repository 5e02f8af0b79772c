package wire

import "fmt"

// Result is the outcome of a link, and the reason of a disconnect
// (SPICE_LINK_ERR_* in spice/enums.h).
type Result uint32

// The results of the protocol.
const (
	ResultOK                  Result = 0
	ResultError               Result = 1
	ResultInvalidMagic        Result = 2
	ResultInvalidData         Result = 3
	ResultVersionMismatch     Result = 4
	ResultNeedSecured         Result = 5
	ResultNeedUnsecured       Result = 6
	ResultPermissionDenied    Result = 7
	ResultBadConnectionID     Result = 8
	ResultChannelNotAvailable Result = 9
)

var resultNames = [...]string{"ok", "error", "invalid_magic", "invalid_data", "version_mismatch",
	"need_secured", "need_unsecured", "permission_denied", "bad_connection_id", "channel_not_available"}

// String returns the protocol's name in lower case ("permission_denied"), or
// "result-N" for a number that it does not know.
func (r Result) String() string {
	if int64(r) < int64(len(resultNames)) {
		return resultNames[r]
	}
	return fmt.Sprintf("result-%d", uint32(r))
}
