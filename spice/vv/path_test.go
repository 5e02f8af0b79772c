package vv_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/vv"
)

func TestAFileIsReadAnewEachTime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console.vv")
	_, err := vv.ReadFile(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, password := range []string{"first", "second"} {
		text, err := vv.File{Type: "spice", Host: "h", Port: 1, Password: password}.MarshalText()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		f, err := vv.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, password, f.Password)
	}
	require.NoError(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	_, err = vv.ReadFile(path)
	var bad *vv.Error
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, err, path)
}

func TestAFileIsLedElsewhere(t *testing.T) {
	t.Parallel()
	plain := &vv.File{Type: "spice", Host: "h", Port: 5900, Password: "p"}
	got, err := plain.Through("127.0.0.1:7")
	require.NoError(t, err)
	require.Equal(t, &vv.File{Type: "spice", Host: "127.0.0.1", Port: 7, Password: "p"}, got)
	require.Equal(t, "h", plain.Host, "it is a copy")

	secure := &vv.File{Host: "h", Port: 5900, TLSPort: 5901, CA: "ca", HostSubject: "CN=x"}
	got, err = secure.Through("[::1]:7")
	require.NoError(t, err)
	require.Equal(t, &vv.File{Host: "::1", TLSPort: 7, CA: "ca", HostSubject: "CN=x"}, got)

	got, err = (&vv.File{UnixPath: "/s", Password: "p"}).Through("h:7")
	require.NoError(t, err)
	require.Equal(t, &vv.File{Host: "h", Port: 7, Password: "p"}, got)

	for addr, want := range map[string]string{
		"nowhere":   "missing port in address",
		"h:spice":   `port "spice" is not a number`,
		"h:70000":   `port "70000" is not a number up to 65535`,
		"h:-1":      `port "-1" is not a number`,
		"1:2:3:900": "too many colons",
	} {
		_, err := plain.Through(addr)
		require.ErrorContains(t, err, want, addr)
	}
}
