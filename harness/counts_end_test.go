package harness

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/spice/control"
)

// Timeline: a test ends and its lane counts; a part of the lane ends; the proxy no longer answers.
func TestTheEndOfALaneWhileItsMessagesAreCountedIsNoFaultOfTheCount(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(ended)
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer api.Close()
	l := &Lane{standIn: &standIn{truth: &truth.Server{}}, driver: &control.Driver{}, client: &part{done: ended}, closing: make(chan struct{})}
	l.state.Proxy.API = api.URL
	require.NoError(t, l.checkCounts(t.Context()))
}
