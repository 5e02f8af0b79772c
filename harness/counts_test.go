package harness

import (
	"encoding/json"
	"image"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/proxy"
)

// miscount puts an API in front of the lane's proxy that reports numbers other than the proxy's.
func miscount(t *testing.T, lane *Lane, change func([]proxy.SessionInfo) []proxy.SessionInfo) {
	t.Helper()
	api := lane.State().Proxy.API
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got struct {
			Sessions []proxy.SessionInfo `json:"sessions"`
		}
		if err := getJSON(r.Context(), api+"/sessions", lane.apiToken, &got); err != nil {
			// The client has gone, or gets this error.
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		got.Sessions = change(got.Sessions)
		_ = json.NewEncoder(w).Encode(got)
	}))
	t.Cleanup(s.Close)
	lane.setState(func(st *registry.State) { st.Proxy.API = s.URL })
	t.Cleanup(func() { lane.setState(func(st *registry.State) { st.Proxy.API = api }) })
}

func TestALostOrAddedMessageIsTheProductsFault(t *testing.T) {
	t.Parallel()
	lane := Up(t, Config{})
	ctx := lane.Context()
	require.NoError(t, lane.checkCounts(ctx), "as it is")
	for _, by := range []uint64{1, ^uint64(0)} { // one more, one less
		t.Run("", func(t *testing.T) {
			miscount(t, lane, func(s []proxy.SessionInfo) []proxy.SessionInfo {
				s[0].Channels[0].MessagesFromServer += by
				return s
			})
			err := lane.checkCounts(ctx)
			require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
			require.Equal(t, verdict.HopProxy, verdict.HopOf(err))
			require.Regexp(t, `^count messages: the proxy took \d+ messages from QEMU \(main:0 \d+, .*\), and the client has received \d+$`, err.Error())
		})
	}
	t.Run("of two sessions nobody knows which is the client's", func(t *testing.T) {
		miscount(t, lane, func(s []proxy.SessionInfo) []proxy.SessionInfo { return append(s, s...) })
		require.NoError(t, lane.checkCounts(ctx))
	})
	require.NoError(t, lane.checkCounts(ctx), "as it was")
}

func TestWhatATestDoesToALaneIsNotCounted(t *testing.T) {
	t.Parallel()
	lane := Up(t, Config{})
	require.NoError(t, lane.Signal(lane.Context(), PartQEMU, syscall.SIGCONT))
	miscount(t, lane, func(s []proxy.SessionInfo) []proxy.SessionInfo {
		s[0].Channels[0].MessagesFromServer++
		return s
	})
	require.NoError(t, lane.checkCounts(lane.Context()))
}

// If a server draws all the time and cannot be paused, something is always in flight.
func TestARunningServerIsNotCounted(t *testing.T) {
	t.Parallel()
	RequireHost(t)
	if _, err := TruthHelper(t.Context()); err != nil {
		SkipOrFail(t, err.Error())
	}
	server := Up(t, Config{Server: ServerTruth, Proxy: None, Client: None})
	lane := Up(t, Config{Server: server.State().SPICE.Addr, ServerTicket: server.DirectVV().Password})
	miscount(t, lane, func(s []proxy.SessionInfo) []proxy.SessionInfo {
		s[0].Channels[0].MessagesFromServer++ // the newest
		return s
	})
	require.NoError(t, lane.checkCounts(lane.Context()))
}

// Messages that a slow network holds back are not lost.
func TestMessagesThatASlowLinkStillCarriesAreNotMissed(t *testing.T) {
	t.Parallel()
	need.Long(t)
	RequireHost(t)
	if _, err := TruthHelper(t.Context()); err != nil {
		SkipOrFail(t, err.Error())
	}
	lane := Up(t, Config{Server: ServerTruth, Witness: true, Link: &impair.Profile{Rate: 25 << 10}, ImpairMode: impair.InProcess})
	server, err := lane.Truth()
	require.NoError(t, err)
	noise := make([]byte, 320*240*4)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	all := image.Rect(0, 0, 320, 240)
	require.NoError(t, server.Push(lane.Context(), &qxl.Drawable{Box: all, Op: &qxl.Copy{Rop: qxl.RopPut,
		Src: &qxl.Image{Format: qxl.Bit32, Width: 320, Height: 240, Data: qxl.Bytes(noise)}, Area: all}}))
	require.NoError(t, server.Draw(lane.Context(), 0))
	require.NoError(t, lane.checkCounts(lane.Context()))
	require.NoError(t, lane.checkWitness(lane.Context()))
}
