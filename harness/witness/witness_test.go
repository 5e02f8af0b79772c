package witness_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorded server ── relay with a witness, which may be a bad proxy too ── client
//
// The client is nil if a bad proxy has ended it before its session was up.
func play(t *testing.T, change func(wire.ChannelID, witness.Message) []witness.Message) (*witness.Ledger, *spice.Client) {
	t.Helper()
	conversation, err := spicetest.Load(filepath.Join("..", "..", "spice", "spicetest", "testdata", "conversations", "qxl-off-plain"))
	require.NoError(t, err)
	server, err := spicetest.NewServer(conversation.Config())
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() }) // a client that gets something else does something else
	relay, err := witness.Start(witness.Config{Change: change, Dial: func(ctx context.Context) (net.Conn, error) {
		return server.Dial(ctx, "", "")
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, relay.Close()) })
	ledger := witness.NewLedger(relay)
	client, err := spice.Dial(t.Context(), spice.Config{
		Host: "127.0.0.1", Port: relay.Port(), Password: "the-ticket", Tap: ledger.Tap,
	})
	if err != nil && change != nil {
		return ledger, nil
	}
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return ledger, client
}

// nth applies do to the n-th message of a type, and to those after it while do returns nil.
func nth(n int, channel wire.ChannelType, messageType uint16, do func(witness.Message) []witness.Message) func(wire.ChannelID, witness.Message) []witness.Message {
	var mu sync.Mutex
	seen := 0
	return func(id wire.ChannelID, m witness.Message) []witness.Message {
		mu.Lock()
		defer mu.Unlock()
		if id.Type == channel && m.Header.Type == messageType {
			if seen++; seen >= n && do != nil {
				out := do(m)
				if out != nil || seen > n {
					do = nil
				}
				return out
			}
		}
		return []witness.Message{m}
	}
}

const drawCopy = 304 // SPICE_MSG_DISPLAY_DRAW_COPY

func TestAMessageThatDidNotArriveAsItWasSaidIsNamed(t *testing.T) {
	var held []witness.Message
	for _, c := range []struct {
		name string
		do   func(witness.Message) []witness.Message
		kind string
	}{
		{"dropped", func(witness.Message) []witness.Message { return []witness.Message{} }, "lost"},
		{"doubled", func(m witness.Message) []witness.Message { return []witness.Message{m, m} }, "added"},
		{"swapped", func(m witness.Message) []witness.Message {
			if held == nil {
				held = []witness.Message{m}
				return nil
			}
			return append([]witness.Message{m}, held...)
		}, "reordered"},
		{"its last byte cut", func(m witness.Message) []witness.Message {
			m.Body = m.Body[:len(m.Body)-1]
			return []witness.Message{m}
		}, "changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ledger, client := play(t, nth(3, wire.ChannelDisplay, drawCopy, c.do))
			if client != nil {
				select {
				case <-ledger.Failed():
				case <-client.Done():
				case <-time.After(10 * time.Second):
					t.Fatal("nothing was noticed")
				}
			}
			var d *witness.Difference
			require.ErrorAs(t, ledger.Err(), &d)
			require.Equal(t, c.kind, d.Kind, "%v", d)
			require.Equal(t, wire.ChannelDisplay, d.Channel.Type)
			require.Equal(t, "display.draw_copy", d.First.Name)
			require.Equal(t, d.Index+1, d.First.Number)
			require.Contains(t, d.Error(), "of what the server said on display:0, after ")
		})
	}
}

func TestAWayThatChangesNothingIsNotBlamed(t *testing.T) {
	ledger, client := play(t, nil)
	require.NoError(t, client.Await(t.Context(), func() bool {
		way, ok := ledger.Under()
		return ok && way == 0 && client.Stats().Ops["draw_copy"].Count > 2
	}))
	require.NoError(t, ledger.Err())
	select {
	case <-ledger.Failed():
		t.Fatal("it says that it has failed")
	default:
	}
}

func TestASessionThatDoesNotComeByIsNotCompared(t *testing.T) {
	conversation, err := spicetest.Load(filepath.Join("..", "..", "spice", "spicetest", "testdata", "conversations", "qxl-off-plain"))
	require.NoError(t, err)
	server, err := spicetest.NewServer(conversation.Config())
	require.NoError(t, err)
	defer server.Close() // whose script is not played to its end
	relay, err := witness.Start(witness.Config{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("nowhere") }})
	require.NoError(t, err)
	defer relay.Close()
	ledger := witness.NewLedger(relay)
	client, err := spice.Dial(t.Context(), spice.Config{Host: "localhost", Port: 1, Password: "the-ticket", DialFunc: server.Dial, Tap: ledger.Tap})
	require.NoError(t, err)
	defer client.Close()
	_, ok := ledger.Under()
	require.False(t, ok)
	require.NoError(t, ledger.Err())

	// If a server cannot be reached, the connection ends.
	conn, err := net.Dial("tcp", hostport.Join("127.0.0.1", relay.Port()))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
}

// A proxy may read everything and pass on nothing. Messages that are too large to be kept are not
// compared, so nobody may conclude that they have arrived.
func TestWhatIsTooMuchToBeKeptHasNotArrived(t *testing.T) {
	relay, err := witness.Start(witness.Config{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("nowhere") }})
	require.NoError(t, err)
	defer relay.Close()
	ledger := witness.NewLedger(relay)
	display := wire.ChannelID{Type: wire.ChannelDisplay}
	said := relay.Of(7, display)
	ledger.Tap(display).Linked(wire.LinkInfo{Channel: display, ConnectionID: 7})
	picture := make([]byte, 65<<20)
	said.Message(wire.FromServer, wire.Header{Type: drawCopy}, picture)
	way, ok := ledger.Under()
	require.True(t, ok)
	require.Equal(t, 1, way)
	said.Message(wire.FromServer, wire.Header{Type: drawCopy}, picture)
	_, ok = ledger.Under()
	require.False(t, ok, "it says that nothing is in flight")
	require.True(t, ledger.GaveUp())
}
