package libvirt_test

// Sessions through a proxy to domains of a libvirtd.
//
//	client ──TLS──► proxy ──────────► QEMU
//	                  └──► libvirtd ────┘

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// connect opens a session with all channels through a proxy to a domain.
func connect(t *testing.T, c *sources.Catalog, uuid string) (*spice.Client, *proxy.Proxy) {
	t.Helper()
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	p, err := proxy.Start(t.Context(), proxy.Config{TLS: bundle, Consoles: c,
		OnEvent: func(e proxy.Event) { t.Log(e.Kind, e.Channel, e.Reason, e.Err) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	file, err := p.VV(ctx, "kvm", uuid)
	require.NoError(t, err)
	client, err := spice.Dial(ctx, spice.FromVV(file))
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	require.Len(t, p.Sessions(), 1)
	names := []string{}
	for _, ch := range p.Sessions()[0].Channels {
		names = append(names, ch.Channel)
	}
	require.Subset(t, names, []string{"main:0", "display:0", "inputs:0", "cursor:0"})
	return client, p
}

// QEMU takes each channel on one of its ports only: on the wrong one it answers
// need_secured or need_unsecured.
func TestChannelsAreLinkedOnThePortsThatTheDomainHasForThem(t *testing.T) {
	d := libvirtd(t)
	a := d.create(t, "guest-a", uuidA, `<graphics type='spice' autoport='yes' listen='127.0.0.1' passwd='s3cret'>
<channel name='main' mode='secure'/><channel name='inputs' mode='secure'/><channel name='display' mode='insecure'/><channel name='cursor' mode='insecure'/></graphics>`)
	c, _ := open(t, d.uri(), "  ca_cert: "+filepath.Join(d.dir, "tls", pki.CACertFile)+"\n  host_subject: "+d.bundle.HostSubject+"\n")
	await(t, c, "guest-a")
	one, err := c.Console(t.Context(), "kvm", uuidA)
	require.NoError(t, err)
	assert.Equal(t, "tls:127.0.0.1:"+a.graphics("tlsPort"), one.ForChannel("main").Endpoint())
	assert.Equal(t, "tcp:127.0.0.1:"+a.graphics("port"), one.ForChannel("display").Endpoint())
	connect(t, c, uuidA)
}

func TestADomainThatListensOnASocketIsReached(t *testing.T) {
	d := libvirtd(t)
	d.create(t, "guest-a", uuidA, `<graphics type='spice' passwd='s3cret'><listen type='socket'/></graphics>`)
	c, _ := open(t, d.uri(), "")
	await(t, c, "guest-a")
	one, err := c.Console(t.Context(), "kvm", uuidA)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(one.Unix, d.dir), one.Unix)
	connect(t, c, uuidA)
}

// Timeline: a domain is defined and started; its guest writes its banner; a session through the
// proxy shows the same picture as libvirt's screenshot; the domain is destroyed, and the session
// ends.
func TestASessionShowsThePictureOfADomainsGuest(t *testing.T) {
	d := libvirtd(t)
	firmware, err := qemu.FindOVMF(os.Getenv)
	require.NoError(t, err)
	beacon, err := fixtures.Find("beacon")
	require.NoError(t, err)
	disk, err := beacon.Materialize(t.Context(), t.TempDir())
	require.NoError(t, err)
	// Files that the guest writes to must belong to the daemon's user.
	own := func(name, from string) string {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		return d.file(t, name, string(text))
	}
	serial := filepath.Join(d.dir, "home", "serial.log")
	path := d.file(t, "beacon.xml", fmt.Sprintf(`<domain type='qemu'><name>beacon</name><uuid>%s</uuid><memory unit='MiB'>256</memory>
<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>%s</loader><nvram>%s</nvram></os>
<features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='unsafe'/><source file='%s'/><target dev='vda' bus='virtio'/></disk>
<controller type='usb' model='none'/><memballoon model='none'/><serial type='file'><source path='%s'/></serial>
<graphics type='spice' autoport='yes' listen='127.0.0.1' passwd='s3cret'/><video><model type='qxl'/></video></devices></domain>`,
		uuidB, firmware.Code, own("vars.fd", firmware.Vars), own("disk.qcow2", disk), serial))
	c, _ := open(t, d.uri(), "  ca_cert: "+filepath.Join(d.dir, "tls", pki.CACertFile)+"\n  host_subject: "+d.bundle.HostSubject+"\n")
	await(t, c)
	_, err = d.virsh("define", path)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = d.virsh("undefine", "--nvram", "beacon") })
	_, err = d.virsh("start", "beacon")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = d.virsh("destroy", "beacon") })
	await(t, c, "beacon")
	require.Eventually(t, func() bool {
		said, _ := os.ReadFile(serial)
		return strings.Contains(string(said), beacon.Banner)
	}, 3*most, 20*time.Millisecond, "the guest does not boot")

	client, p := connect(t, c, uuidB)
	ctx, cancel := context.WithTimeout(t.Context(), 3*most)
	defer cancel()
	screenshot := func() *image.NRGBA {
		file := filepath.Join(d.dir, "home", "screen.png")
		_, err := d.virsh("screenshot", "beacon", file)
		require.NoError(t, err)
		return readPNG(t, file)
	}
	surface, err := client.AwaitPicture(ctx, 0)
	require.NoError(t, err)
	// The banner comes before the first picture.
	for colours(screenshot()) < 2 {
		require.NoError(t, ctx.Err(), "the screen stays blank")
	}
	// The guest draws meanwhile: the client's picture must equal one of two that libvirt took, or
	// all are taken again.
	for {
		before := screenshot()
		picture, err := client.Snapshot(0, surface.ID, nil)
		require.NoError(t, err)
		after := screenshot()
		got := picture.Image()
		diff := drive.FirstDifference(got, after)
		if colours(got) > 1 && (diff == "" || drive.FirstDifference(got, before) == "") {
			// Any changed pixel is a difference.
			got.Pix[0] ^= 0xff
			require.NotEmpty(t, drive.FirstDifference(got, after))
			break
		}
		require.NoError(t, ctx.Err(), "the client shows %d colours; %s", colours(got), diff)
	}

	// spice-server's window is 20 messages, 40 on a slow line, and it stops when twice that
	// is not acknowledged. What is counted stays below, however much the guest draws.
	var highest, sent uint64
	known := false
	require.Eventually(t, func() bool {
		for _, s := range p.Sessions() {
			for _, ch := range s.Channels {
				if ch.Channel == "display:0" && ch.Unacknowledged != nil {
					known, highest, sent = true, max(highest, *ch.Unacknowledged), ch.MessagesFromServer
				}
			}
		}
		return sent > 300
	}, most, 10*time.Millisecond, "the guest draws little: %d messages, with acknowledgements: %t", &sent, &known)
	assert.LessOrEqual(t, highest, uint64(81))

	_, err = d.virsh("destroy", "beacon")
	require.NoError(t, err)
	await(t, c)
	select {
	case <-client.Done():
	case <-ctx.Done():
		t.Fatal("the session outlives its guest")
	}
}

func readPNG(t *testing.T, path string) *image.NRGBA {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	decoded, err := png.Decode(f)
	require.NoError(t, err)
	img := image.NewNRGBA(decoded.Bounds())
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			img.Set(x, y, decoded.At(x, y))
		}
	}
	return img
}

// colours counts the colours of a picture.
func colours(img *image.NRGBA) int {
	all := map[[4]byte]bool{}
	for i := 0; i < len(img.Pix); i += 4 {
		all[[4]byte(img.Pix[i:])] = true
	}
	return len(all)
}
