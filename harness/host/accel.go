package host

import (
	"context"
	"os"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
)

// ChooseAccel decides how a machine runs: accel is auto, kvm or tcg; "" means $SPICELANE_ACCEL,
// else auto. To find out whether KVM works, it runs the machine's own image on it until its banner,
// once for each boot of the host.
func ChooseAccel(ctx context.Context, mc qemu.Config, banner string, accel qemu.Accel) (qemu.Choice, error) {
	mc.Accel = accel
	opt := qemu.AccelOptions{CacheDir: CacheDir()}
	if banner != "" {
		opt.Banner = serial.Contains(banner)
	}
	if mc.Firmware.Code == "" && !mc.BIOS {
		fw, err := qemu.FindOVMF(os.Getenv)
		if err != nil {
			return qemu.Choice{}, err
		}
		mc.Firmware = fw
	}
	return qemu.ChooseAccel(ctx, mc, opt)
}
