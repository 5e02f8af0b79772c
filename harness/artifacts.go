package harness

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// laneFiles are the files that each lane replaces.
var laneFiles = []string{
	qemu.SerialLog, qemu.QEMULog, qemu.ArgvFile, qemu.QMPTranscript,
	"proxy.log", "client.log", timeline.File, "verdict.json", film.File, replay.File,
}

// partLog opens the log of a part that runs inside this process.
func partLog(dir, name string) (*slog.Logger, func() error, error) {
	f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, verdict.Classify(name, err)
	}
	return slog.New(slog.NewTextHandler(f, nil)), f.Close, nil
}
