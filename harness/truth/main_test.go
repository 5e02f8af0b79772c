package truth_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/fixtures/truthserver"
	"github.com/spicelane/spicelane/harness/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// helper returns the truth server's helper. It skips the test if lanes are off or this host cannot
// build it.
func helper(t *testing.T) string {
	t.Helper()
	policy := os.Getenv("SPICELANE_LANES")
	if policy == "off" {
		t.Skip("SPICELANE_LANES=off: no server is started")
	}
	path, err := truthserver.Build(t.Context(), filepath.Join(host.CacheDir(), "truthserver"))
	var missing *truthserver.MissingError
	if errors.As(err, &missing) && policy != "require" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
