package spice_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// QEMU has all bits set for a port that there is not.
var elsewhere = wire.MigrationTarget{Port: 5900, SecurePort: 0xffff, Host: "elsewhere", CertSubject: "CN=x"}

// A server that migrates without the client switches it at the end: the session ends, and its error leads to the next one.
func TestAMigrationIsDeclinedAndTheNextSessionIsOnTheOtherHost(t *testing.T) {
	for _, begin := range []wire.ServerMessage{
		&wire.MainMigrateBegin{Target: elsewhere},
		&wire.MainMigrateBeginSeamless{Target: elsewhere, SourceVersion: 1},
	} {
		t.Run(begin.MessageName(), func(t *testing.T) {
			source, target := serve(t, displayID), serve(t, displayID)
			c := source.dial(spice.Config{})
			m := source.peer(mainID)
			require.False(t, m.request.ChannelCaps.Has(wire.CapMainSeamlessMigrate))
			require.False(t, m.request.ChannelCaps.Has(wire.CapMainSemiSeamlessMigrate))
			m.want(&wire.MainAttachChannels{})
			m.send(begin)
			m.want(&wire.MainMigrateConnectError{})
			d := source.peer(displayID)
			d.send(primary(4, 4))
			for {
				if _, ok := d.next().(*wire.DisplayInit); ok {
					break
				}
			}
			d.sync() // the session goes on meanwhile
			m.send(&wire.MainMigrateSwitchHost{Target: elsewhere})
			var moved *spice.MigratedError
			require.ErrorAs(t, c.Wait(), &moved)

			cfg := moved.Config(source.config(spice.Config{}))
			cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if network != "tcp" || addr != "elsewhere:5900" {
					return nil, fmt.Errorf("dialed %s %s, want tcp elsewhere:5900", network, addr)
				}
				return new(net.Dialer).DialContext(ctx, "unix", target.path)
			}
			next, err := spice.Dial(t.Context(), cfg)
			require.NoError(t, err)
			defer next.Close()
			require.Equal(t, uint32(0x5eed), next.MainState().ConnectionID)
		})
	}
}

// A server that goes through with it although the client declined is not left waiting, and the session still says where the guest is.
func TestAMigrationThatGoesOnAfterItWasDeclinedEndsWithTheNewHost(t *testing.T) {
	want := &spice.MigratedError{Host: "elsewhere", Port: 5900, HostSubject: "CN=x"}
	for name, end := range map[string]func(main, inputs *peer){
		"the end on main": func(main, _ *peer) { main.send(&wire.MainMigrateEnd{}) },
		"the state of a channel": func(_, inputs *peer) {
			inputs.send(&wire.Migrate{Flags: wire.MigrateNeedFlush | wire.MigrateNeedDataTransfer})
			inputs.want(&wire.MigrateFlushMark{})
			inputs.send(&wire.MigrateData{Data: []byte{1, 2, 3}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, inputsID)
			c := s.dial(spice.Config{})
			m := s.peer(mainID)
			m.want(&wire.MainAttachChannels{})
			m.send(&wire.MainMigrateBeginSeamless{Target: elsewhere, SourceVersion: 1})
			m.want(&wire.MainMigrateConnectError{})
			end(m, s.peer(inputsID))
			var moved *spice.MigratedError
			require.ErrorAs(t, c.Wait(), &moved)
			require.Equal(t, want, moved)
		})
	}
}

// The server hangs up on every channel when it has said where to go.
func TestWhereToGoIsHeardThoughAnotherChannelEndedFirst(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	m, i := s.peer(mainID), s.peer(inputsID)
	require.NoError(t, i.conn.(interface{ CloseWrite() error }).CloseWrite())
	_, err := io.Copy(io.Discard, i.conn)
	require.NoError(t, err, "the client has seen it, and hung up")
	m.send(&wire.MainMigrateSwitchHost{Target: elsewhere})
	var moved *spice.MigratedError
	require.ErrorAs(t, c.Wait(), &moved)
}

func TestTheEndOfAChannelAloneIsTheReason(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	require.NoError(t, s.peer(inputsID).conn.Close())
	require.EqualError(t, c.Wait(), "spice: inputs:0: the server closed the connection")
}

func TestAChannelThatNeedNotFlushForAMigrationSendsNothing(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	i := s.peer(inputsID)
	i.send(&wire.Migrate{}, &wire.Ping{ID: 7, Data: []byte{}})
	i.want(&wire.Pong{ID: 7})
	require.Empty(t, c.Stats().Unsupported)
}

func TestTheEndOfAMigrationThatDidNotBeginIsAnError(t *testing.T) {
	for name, say := range map[string]func(main, inputs *peer){
		"the end":                func(main, _ *peer) { main.send(&wire.MainMigrateEnd{}) },
		"the state of a channel": func(_, inputs *peer) { inputs.send(&wire.MigrateData{Data: []byte{1}}) },
		"the end of one that was called off": func(main, _ *peer) {
			main.send(&wire.MainMigrateBegin{Target: elsewhere}, &wire.MainMigrateCancel{}, &wire.MainMigrateEnd{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, inputsID)
			c := s.dial(spice.Config{})
			say(s.peer(mainID), s.peer(inputsID))
			var problem *spice.ProtocolError
			require.ErrorAs(t, c.Wait(), &problem)
			require.Equal(t, "the end of a migration that did not begin", problem.Problem)
		})
	}
}

func TestASessionOverTLSIsNotContinuedWithoutIt(t *testing.T) {
	secure := spice.Config{Host: "here", TLSPort: 5901, Port: 5900, Password: "p", HostSubject: "CN=here"}
	moved := &spice.MigratedError{Host: "elsewhere", Port: 5902, TLSPort: 5903, HostSubject: "CN=there"}
	require.Equal(t, spice.Config{Host: "elsewhere", TLSPort: 5903, Password: "p", HostSubject: "CN=there"}, moved.Config(secure))
	moved.TLSPort = 0
	_, err := spice.Dial(t.Context(), moved.Config(secure))
	require.ErrorContains(t, err, "neither Port nor TLSPort")
}
