package spice_test

import (
	"image"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
)

// The display has read messages that it has not carried out when the main channel ends the session.
func TestEndedIsTheLastEventOfASession(t *testing.T) {
	const fills = 10
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(4, 4))
	d.sync()
	release := make(chan struct{})
	events := make(chan spice.Event, 4*fills)
	c.Observe(func(e spice.Event) {
		events <- e
		if _, drawn := e.(spice.Drawn); drawn {
			<-release
			time.Sleep(time.Millisecond) // lets an Ended that is emitted too early come between
		}
	})
	for range fills {
		d.send(fill(image.Rect(0, 0, 1, 1), 1))
	}
	require.Eventually(t, func() bool { // nothing wakes an Await while the display is held up
		for _, ch := range c.Stats().Channels {
			if ch.Channel == "display:0" {
				return ch.In["display.draw_fill"] == fills
			}
		}
		return false
	}, 10*time.Second, time.Millisecond)
	s.peer(mainID).conn.Close()
	<-c.Done()
	close(release)
	require.NoError(t, c.Close())
	close(events)
	var all []spice.Event
	for e := range events {
		all = append(all, e)
	}
	last, ok := all[len(all)-1].(spice.Ended)
	require.True(t, ok, "the last of %d events is %T", len(all), all[len(all)-1])
	require.Equal(t, c.Wait(), last.Err)
	drawn := 0
	for _, e := range all[:len(all)-1] {
		require.IsType(t, spice.Drawn{}, e)
		drawn++
	}
	require.NotZero(t, drawn)
}

func TestAnObserverThatIsBusyDoesNotKeepOthersFromStarting(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(4, 4))
	d.sync()
	busy, release := make(chan struct{}), make(chan struct{})
	stop := c.Observe(func(e spice.Event) {
		if _, drawn := e.(spice.Drawn); drawn {
			close(busy)
			<-release
		}
	})
	d.send(fill(image.Rect(0, 0, 1, 1), 1))
	<-busy
	second := make(chan spice.Event, 4)
	c.Observe(func(e spice.Event) { second <- e })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	select {
	case <-stopped:
		t.Fatal("stop returned while its observer was running")
	case <-time.After(10 * time.Millisecond):
	}
	close(release)
	<-stopped
	d.send(fill(image.Rect(0, 0, 1, 1), 2))
	d.sync()
	require.IsType(t, spice.Drawn{}, <-second)
}
