package harness_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/verdict"
)

func TestAConfigThatCannotWorkIsRefusedByTheFieldsName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  harness.Config
		want string // the whole error
	}{
		{harness.Config{Accel: "hvf"}, `Config.Accel: "hvf" is not one of auto, kvm, tcg`},
		{harness.Config{Display: "vga"}, `Config.Display: "vga" is not one of qxl, virtio, std`},
		{harness.Config{Compression: "fast"}, `Config.Compression: "fast" is not one of off, auto_glz, auto_lz, quic, glz, lz`},
		{harness.Config{Streaming: "on"}, `Config.Streaming: "on" is not one of off, filter, all`},
		{harness.Config{Agent: "yes"}, `Config.Agent: "yes" is not one of auto, on, off`},
		{harness.Config{Warm: "Auto"}, `Config.Warm: "Auto" is not one of auto, off, require`},
		{harness.Config{ImpairMode: "cloud"}, `Config.ImpairMode: "cloud" is not one of auto, kernel, process`},
		{harness.Config{LinkIn: "cloud"}, `Config.LinkIn: "cloud" is not one of auto, kernel, process`},
		{harness.Config{MemoryMiB: -1}, `Config.MemoryMiB: -1 MiB is less than none`},
		{harness.Config{CPUs: -2}, `Config.CPUs: -2 processors are less than none`},
		{harness.Config{Timeout: -time.Second}, `Config.Timeout: -1s has passed before the lane starts`},
		{harness.Config{Name: "a lane"}, `Config.Name: lane name "a lane": not usable as a name; ` +
			`use letters, digits, '.', '_' and '-', at most 41, the first a letter or digit`},
		{harness.Config{Image: "disk.img", Fixture: "beacon"}, `Config.Image: it stands instead of a Fixture, and there is one: "beacon"`},
		{harness.Config{Image: "disk.img", Initrd: "initrd"}, `Config.Initrd: without a Kernel nothing loads "initrd"`},
		{harness.Config{Image: "disk.img", Append: "quiet"}, `Config.Append: without a Kernel nothing reads "quiet"`},
		{harness.Config{Devices: []string{"virtio-rng-pci", ""}}, `Config.Devices: one of them is empty`},
		{harness.Config{ExtraArgs: []string{""}}, `Config.ExtraArgs: one of them is empty`},
		{harness.Config{ReleaseControl: true, Client: harness.None}, `Config.ReleaseControl: without a Client there is no control socket`},
		{harness.Config{Takeover: "refuse", Proxy: harness.None}, `Config.Takeover: only the built-in proxy can be told what to do with a second viewer`},
		{harness.Config{Witness: true, Proxy: harness.None}, `Config.Witness: without a Proxy there is nothing to be a witness of`},
		{harness.Config{Witness: true, Client: harness.None}, `Config.Witness: only the built-in client inside this process says what it receives`},
		{harness.Config{Witness: true, BackendTLS: true}, `Config.Witness: it does not read what is encrypted with BackendTLS`},
		{harness.Config{Proxy: harness.Command(" ")}, `Config.Proxy: command " ": it is empty`},
		{harness.Config{Client: harness.Command("c {socket_}")}, `Config.Client: command "c {socket_}": there is no placeholder {socket_}; did you mean {socket}?`},
	} {
		dir := t.TempDir() + "/lane"
		c.cfg.Dir = dir
		_, err := harness.Start(t.Context(), c.cfg)
		require.EqualError(t, err, c.want)
		require.Equal(t, verdict.Harness, verdict.Of(err))
		var field *harness.FieldError
		require.ErrorAs(t, err, &field)
		require.NoDirExists(t, dir, "something was started")
	}
	err := harness.Config{Link: &impair.Profile{Loss: 2}}.Check()
	require.ErrorContains(t, err, "Config.Link: ")
	require.NoError(t, harness.Config{}.Check())
	require.NoError(t, harness.Config{Accel: "auto", Display: "std", Compression: "lz", Agent: "auto", Warm: "auto",
		ImpairMode: impair.InProcess, Link: &impair.Profile{}, Name: "lane-1", Append: "quiet", Proxy: harness.None}.Check())
}

func TestAProgramIsWhatPeopleWrite(t *testing.T) {
	t.Parallel()
	require.Equal(t, harness.Builtin, harness.Program{}, "the zero Program")
	for word, want := range map[string]harness.Program{
		"":               harness.Builtin,
		"builtin":        harness.Builtin,
		"none":           harness.None,
		"p {tls_port}":   harness.Command("p {tls_port}"),
		" none":          harness.Command(" none"),
		"command: p {x}": harness.Command("command: p {x}"),
	} {
		require.Equal(t, want, harness.ParseProgram(word), "%q", word)
	}
	require.NotEqual(t, harness.Builtin, harness.Command(""))
	require.NotEqual(t, harness.None, harness.Command("none"))
	require.False(t, harness.None.IsCommand())
	require.True(t, harness.Command("none").IsCommand())
}

// A configuration goes to the process that keeps the lane up as JSON.
func TestAConfigSurvivesJSON(t *testing.T) {
	t.Parallel()
	for _, p := range []harness.Program{harness.Builtin, harness.None, harness.Command("none"), harness.Command("builtin"),
		harness.Command(""), harness.Command("p 'a b' {vv}"), harness.Command("command: p")} {
		cfg := harness.Config{Proxy: p, Client: p, Accel: "tcg", Warm: harness.WarmOff, Link: &impair.Profile{Delay: time.Second}}
		b, err := json.Marshal(cfg)
		require.NoError(t, err)
		var got harness.Config
		require.NoError(t, json.Unmarshal(b, &got), string(b))
		require.Equal(t, cfg, got, string(b))
	}
	b, err := json.Marshal(harness.Config{})
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(b))
	var got harness.Config
	require.NoError(t, json.Unmarshal([]byte(`{"proxy":"none","client":"ryll {vv}"}`), &got), "as people write it")
	require.Equal(t, harness.Config{Proxy: harness.None, Client: harness.Command("ryll {vv}")}, got)
}

// LinkIn is the former name of ImpairMode.
func TestImpairModeWinsOverItsFormerName(t *testing.T) {
	t.Parallel()
	require.Equal(t, impair.Auto, harness.ImpairModeOf(harness.Config{}))
	require.Equal(t, impair.InProcess, harness.ImpairModeOf(harness.Config{LinkIn: impair.InProcess}))
	require.Equal(t, impair.InKernel, harness.ImpairModeOf(harness.Config{ImpairMode: impair.InKernel, LinkIn: impair.InProcess}))
}
