package sources_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
)

const contract = `- source: ci-direct-qemu        # the source's name
  type: static
  consoles:
    - uuid: "6f4e2c1a-0000-0000-0000-000000000001"
      name: "beacon-1"
      hypervisor: "localhost"
      hypervisor_ip: "127.0.0.1"
      insecure_port: 5910
      ticket: "s3cret"
      secure_port: 5911
      host_subject: "CN=beacon"
    - uuid: "6f4e2c1a-0000-0000-0000-000000000002"
      name: "beacon-2"
      unix: /run/beacon.sock
      ticket: ""
      secure_port: null
`

// edit replaces the one occurrence of old in the contract's file.
func edit(t testing.TB, old, with string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(contract, old), old)
	return strings.Replace(contract, old, with, 1)
}

func TestTheContractsFileParses(t *testing.T) {
	list, err := sources.Parse("sources.yaml", []byte(contract))
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, "ci-direct-qemu", list[0].Name())
	got, err := list[0].Consoles(t.Context())
	require.NoError(t, err)
	want := []sources.Console{{
		Source: "ci-direct-qemu", UUID: "6f4e2c1a-0000-0000-0000-000000000001", Name: "beacon-1",
		Hypervisor: "localhost", HypervisorIP: "127.0.0.1", InsecurePort: 5910, SecurePort: 5911,
		HostSubject: "CN=beacon", Ticket: "s3cret",
	}, {
		Source: "ci-direct-qemu", UUID: "6f4e2c1a-0000-0000-0000-000000000002", Name: "beacon-2", Unix: "/run/beacon.sock",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("consoles (-want +got):\n%s", diff)
	}
}

func TestErrorsNameFileLineAndField(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"missing ticket":         {edit(t, `      ticket: "s3cret"`+"\n", ""), "s.yaml:4: consoles[0].ticket: is missing"},
		"missing name":           {edit(t, `      name: "beacon-2"`+"\n", ""), "s.yaml:12: consoles[1].name: is missing"},
		"missing hypervisor":     {edit(t, `      hypervisor: "localhost"`+"\n", ""), "s.yaml:4: consoles[0].hypervisor: is missing"},
		"missing hypervisor_ip":  {edit(t, `      hypervisor_ip: "127.0.0.1"`+"\n", ""), "s.yaml:4: consoles[0].hypervisor_ip: is missing"},
		"missing uuid":           {edit(t, `- uuid: "6f4e2c1a-0000-0000-0000-000000000002"`+"\n", "- uuid:\n"), "s.yaml:12: consoles[1].uuid: is missing"},
		"neither port nor unix":  {edit(t, "      unix: /run/beacon.sock\n", "      hypervisor: a\n      hypervisor_ip: b\n"), "s.yaml:12: consoles[1].insecure_port: is missing, and so is secure_port"},
		"port and unix":          {edit(t, "unix: /run/beacon.sock", "unix: /run/beacon.sock\n      insecure_port: 1"), "s.yaml:14: consoles[1].unix: stands beside a port"},
		"unknown key":            {edit(t, "secure_port: 5911", "secure_prot: 5911"), "s.yaml:10: consoles[0].secure_prot: is not a known key"},
		"unknown key of source":  {edit(t, "  type: static", "  type: static\n  url: x"), "s.yaml:3: url: is not a known key"},
		"key twice":              {edit(t, "secure_port: 5911", "insecure_port: 5911"), "s.yaml:10: consoles[0].insecure_port: stands twice"},
		"port too high":          {edit(t, "5911", "65536"), "s.yaml:10: consoles[0].secure_port: 65536 is out of range"},
		"port zero":              {edit(t, "5911", "0"), "s.yaml:10: consoles[0].secure_port: 0 is out of range"},
		"port negative":          {edit(t, "5910", "-1"), "s.yaml:8: consoles[0].insecure_port: -1 is out of range"},
		"port beyond integers":   {edit(t, "5910", "99999999999999999999"), "s.yaml:8: consoles[0].insecure_port: is not a port number"},
		"port is text":           {edit(t, "5910", `"5910"`), "s.yaml:8: consoles[0].insecure_port: is not a port number"},
		"uuid twice":             {edit(t, "000002", "000001"), `s.yaml:12: consoles[1].uuid: "6f4e2c1a-0000-0000-0000-000000000001" is used twice, first in line 4`},
		"uuid with slash":        {edit(t, "6f4e2c1a-0000-0000-0000-000000000002", "a/b"), `s.yaml:12: consoles[1].uuid: "a/b" has a slash`},
		"ticket is a number":     {edit(t, `"s3cret"`, "31337"), "s.yaml:9: consoles[0].ticket: is no text: put it into quotes"},
		"ticket too long":        {edit(t, "s3cret", strings.Repeat("31337", 13)), "s.yaml:9: consoles[0].ticket: the ticket has 65 bytes"},
		"ticket is an alias":     {edit(t, `"s3cret"`, "*31337"), "put text that begins with * into quotes"},
		"name empty":             {edit(t, `"beacon-1"`, `""`), "s.yaml:5: consoles[0].name: is empty"},
		"host subject malformed": {edit(t, "CN=beacon", "beacon"), `s.yaml:11: consoles[0].host_subject: "beacon" lacks "=value"`},
		"proxy without a pin":    {edit(t, `host_subject: "CN=beacon"`, "proxy: \"http://pve:3128\""), "s.yaml:11: consoles[0].proxy: needs secure_port and host_subject beside it"},
		"proxy by https":         {edit(t, `host_subject: "CN=beacon"`, "host_subject: \"CN=beacon\"\n      proxy: https://pve"), "s.yaml:12: consoles[0].proxy: an HTTP proxy is reached by http://, not https://"},
		"channels of one port":   {edit(t, "unix: /run/beacon.sock", "unix: /run/beacon.sock\n      secure_channels: [main]"), "s.yaml:15: consoles[1].secure_channels: needs insecure_port and secure_port"},
		"channel unknown":        {edit(t, "secure_port: 5911", "secure_port: 5911\n      secure_channels: [main, mian]"), `s.yaml:11: consoles[0].secure_channels: "mian" is not a type of channel`},
		"channels are text":      {edit(t, "secure_port: 5911", "secure_port: 5911\n      secure_channels: main"), "s.yaml:11: consoles[0].secure_channels: is no list of channels"},
		"no channels":            {edit(t, "secure_port: 5911", "secure_port: 5911\n      secure_channels: []"), "s.yaml:11: consoles[0].secure_channels: is no list of channels"},
		"unix path too long":     {edit(t, "/run/beacon.sock", "/"+strings.Repeat("x", 107)), "s.yaml:14: consoles[1].unix: has 108 bytes, and socket paths are limited to 107"},
		"console is text":        {"- source: a\n  type: static\n  consoles:\n    - b\n", "s.yaml:4: consoles[0]: is no \"key: value\" block"},
		"consoles is text":       {"- source: a\n  type: static\n  consoles: b\n", "s.yaml:3: consoles: is no list"},
		"consoles missing":       {"- source: a\n  type: static\n", "s.yaml:1: consoles: is missing"},
		"type unknown":           {edit(t, "type: static", "type: ovirt"), `s.yaml:2: type: "ovirt" is not a known kind of source`},
		"type missing":           {edit(t, "  type: static\n", ""), "s.yaml:1: type: is missing"},
		"source missing":         {"- type: static\n  consoles: []\n", "s.yaml:1: source: is missing"},
		"source with slash":      {edit(t, "ci-direct-qemu ", "ci/qemu "), `s.yaml:1: source: "ci/qemu" has a slash`},
		"source twice":           {contract + "- {source: ci-direct-qemu, type: static, consoles: []}\n", `s.yaml:17: source: "ci-direct-qemu" is used twice, first in line 1`},
		"no list":                {"source: a\n", "s.yaml:1: is no list of sources"},
		"empty":                  {"# nothing\n", "s.yaml: is empty: write []"},
		"null":                   {"~\n", "s.yaml: is empty: write []"},
		"two documents":          {contract + "---\n[]\n", "s.yaml:17: is a second YAML document"},
		"second document broken": {"[]\n---\n}\n", "s.yaml:3: did not find expected node content"},
		"no YAML":                {"- source: [\n", "s.yaml:2: did not find expected node content"},
		"list by alias":          {"- &a {source: a, type: static, consoles: &l []}\n- {source: b, type: static, consoles: *l}\n", "s.yaml:2: consoles: is no list"},
		"ca_cert not there":      {edit(t, `host_subject: "CN=beacon"`, "ca_cert: nowhere.pem"), "s.yaml:11: consoles[0].ca_cert: open nowhere.pem: no such file"},
		"ca_cert is no PEM":      {edit(t, `host_subject: "CN=beacon"`, `ca_cert: "-----BEGIN x"`), "s.yaml:11: consoles[0].ca_cert: the text holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sources.Parse("s.yaml", []byte(c.text))
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "31337")
			var field *sources.FieldError
			require.ErrorAs(t, err, &field)
			assert.Equal(t, "s.yaml", field.File)
		})
	}
}

func TestOneErrorNamesEverythingThatIsWrong(t *testing.T) {
	_, err := sources.Parse("s.yaml", []byte("- source: a\n  type: static\n  consoles:\n  - uuid: u\n    insecure_port: 0\n"))
	require.Error(t, err)
	var fields []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		fields = append(fields, e.(*sources.FieldError).Field)
	}
	assert.Equal(t, []string{"consoles[0].name", "consoles[0].hypervisor", "consoles[0].hypervisor_ip",
		"consoles[0].insecure_port", "consoles[0].ticket"}, fields)
}

func TestScalarAliasesAndAnEmptyListAreFine(t *testing.T) {
	list, err := sources.Parse("s.yaml", []byte("[]"))
	require.NoError(t, err)
	assert.Empty(t, list)

	list, err = sources.Parse("s.yaml", []byte(edit(t, `ticket: ""`, "ticket: *t")))
	require.Error(t, err)
	assert.Nil(t, list)
	list, err = sources.Parse("s.yaml", []byte(strings.Replace(edit(t, `ticket: ""`, "ticket: *t"), `ticket: "s3cret"`, `ticket: &t "s3cret"`, 1)))
	require.NoError(t, err)
	c, err := list[0].Console(t.Context(), "6f4e2c1a-0000-0000-0000-000000000002")
	require.NoError(t, err)
	assert.Equal(t, "s3cret", c.Ticket)
}

func TestCACertIsPEMOrAPathBesideTheFile(t *testing.T) {
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), bundle.CACert, 0o600))
	inline := "ca_cert: |\n        " + strings.ReplaceAll(strings.TrimSpace(string(bundle.CACert)), "\n", "\n        ")
	for name, text := range map[string]string{
		"path":          edit(t, `host_subject: "CN=beacon"`, "ca_cert: ca.pem"),
		"absolute path": edit(t, `host_subject: "CN=beacon"`, "ca_cert: "+filepath.Join(dir, "ca.pem")),
		"PEM":           edit(t, `host_subject: "CN=beacon"`, inline),
		"of the source": edit(t, "  type: static", "  type: static\n  ca_cert: ca.pem"),
	} {
		t.Run(name, func(t *testing.T) {
			list, err := sources.Parse(filepath.Join(dir, "sources.yaml"), []byte(text))
			require.NoError(t, err)
			consoles, err := list[0].Consoles(t.Context())
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSpace(string(bundle.CACert)), strings.TrimSpace(string(consoles[0].CACert)))
		})
	}
}

func TestChannelsOfAConsoleWithTwoPortsMayBeSecureOneByOne(t *testing.T) {
	list, err := sources.Parse("s.yaml", []byte(edit(t, "secure_port: 5911", "secure_port: 5911\n      secure_channels: [main, inputs]")))
	require.NoError(t, err)
	c, err := list[0].Console(t.Context(), "6f4e2c1a-0000-0000-0000-000000000001")
	require.NoError(t, err)
	assert.Equal(t, "tls:127.0.0.1:5911", c.ForChannel("inputs").Endpoint())
	assert.Equal(t, "tcp:127.0.0.1:5910", c.ForChannel("display").Endpoint())
}

func TestFilesThatAreTooLargeAreNotParsed(t *testing.T) {
	_, err := sources.Parse("s.yaml", make([]byte, sources.MaxFileSize+1))
	assert.ErrorContains(t, err, "more than a sources file may have")
	path := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(path, make([]byte, sources.MaxFileSize+1), 0o600))
	_, err = sources.Load(path)
	assert.ErrorContains(t, err, "more than a sources file may have")
	_, err = sources.Load(filepath.Join(t.TempDir(), "nowhere.yaml"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzParse checks that no text makes the parser panic, that what parses has
// all that a console needs, and that errors are always FieldErrors.
func FuzzParse(f *testing.F) {
	for _, s := range []string{contract, "", "[]", "~", "- a", "- source: a\n  type: static\n  consoles: [{}]\n",
		"- &a {source: *a}", "- {source: a, type: static, consoles: [], <<: {x: 1}}", "[]\n---\n[]", "- ? [a]\n  : b", "\x00", "- source: !!binary aGk="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := sources.Parse("s.yaml", data)
		if err != nil {
			var field *sources.FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		for _, s := range list {
			consoles, err := s.Consoles(t.Context())
			require.NoError(t, err)
			for _, c := range consoles {
				assert.NotEmpty(t, c.UUID)
				assert.NotEmpty(t, c.Name)
				assert.True(t, c.Unix != "" || c.InsecurePort+c.SecurePort > 0)
			}
		}
	})
}

// A ticket of 60 bytes is accepted by QEMU and never matches: spice-server keeps 59.
func TestATicketThatSpiceServerWouldCutIsRefused(t *testing.T) {
	_, err := sources.Parse("sources.yaml", []byte(edit(t, "s3cret", strings.Repeat("x", 60))))
	assert.EqualError(t, err, "sources.yaml:9: consoles[0].ticket: the ticket has 60 bytes, and spice-server keeps only the first 59 of one, "+
		"so that it would never match; use a shorter one")
	_, err = sources.Parse("sources.yaml", []byte(edit(t, "s3cret", strings.Repeat("x", 59))))
	assert.NoError(t, err)
}

// oVirt and libvirt print the same UUID in capitals and in small letters.
func TestAUUIDMatchesWhateverTheCaseOfItsLetters(t *testing.T) {
	const capitals, small = "6F4E2C1A-0000-0000-0000-000000000001", "6f4e2c1a-0000-0000-0000-000000000001"
	for _, written := range []string{capitals, small} {
		list, err := sources.Parse("sources.yaml", []byte(edit(t, small, written)))
		require.NoError(t, err)
		for _, asked := range []string{capitals, small} {
			c, err := list[0].Console(t.Context(), asked)
			require.NoError(t, err)
			assert.Equal(t, small, c.UUID)
		}
	}
	_, err := sources.Parse("sources.yaml", []byte(edit(t, "6f4e2c1a-0000-0000-0000-000000000002", capitals)))
	assert.ErrorContains(t, err, `consoles[1].uuid: "`+small+`" is used twice`)
	// A name that is no UUID is not folded.
	s, err := sources.NewStatic("s", sources.Console{UUID: "A"}, sources.Console{UUID: "a"})
	require.NoError(t, err)
	c, err := s.Console(t.Context(), "A")
	require.NoError(t, err)
	assert.Equal(t, "A", c.UUID)
}

// An IPv6 address in brackets ended in "missing port in address".
func TestAHypervisorsIPv6AddressMayHaveBrackets(t *testing.T) {
	list, err := sources.Parse("sources.yaml", []byte(edit(t, `"127.0.0.1"`, `"[::1]"`)))
	require.NoError(t, err)
	consoles, err := list[0].Consoles(t.Context())
	require.NoError(t, err)
	network, address := consoles[0].Address()
	assert.Equal(t, "tcp [::1]:5911", network+" "+address)
}
