package scenario_test

import (
	"testing"

	"github.com/spicelane/spicelane/harness/internal/lanetest"
)

func TestMain(m *testing.M) { lanetest.Main(m) }
