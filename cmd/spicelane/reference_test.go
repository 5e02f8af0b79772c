package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
)

var (
	special  = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "<", `\<`, ">", `\>`, "[", `\[`, "]", `\]`, "|", `\|`, "#", `\#`, "~", `\~`)
	document = regexp.MustCompile(`docs/([a-z-]+\.md)`)
)

// markdown returns text for a paragraph or a cell of a page in docs: as it is, except that the names of
// other pages are links.
func markdown(text string) string {
	return document.ReplaceAllString(special.Replace(text), "[$0]($1)")
}

// code returns text as code, for a cell of a table.
func code(text string) string { return "`" + strings.ReplaceAll(text, "|", `\|`) + "`" }

// wrap breaks a paragraph into lines that are easy to read in the file.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > 100:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// flagName and its placeholder, as help shows them.
func flagCell(f *pflag.Flag) (name, usage string) {
	placeholder, usage := pflag.UnquoteUsage(f)
	name = "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if f.NoOptDefVal != "" && f.Value.Type() != "bool" {
		placeholder = "[=" + placeholder + "]"
	} else if placeholder != "" {
		placeholder = " " + placeholder
	}
	return name + placeholder, usage
}

// commandsPage returns the reference of the commands.
func commandsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n" + wrap("This page is made from the program's own help: `spicelane COMMAND --help` prints the same. "+
		"The manual pages of [a release](releases.md) have it, too. `make reference` makes this page again.") + "\n\n")
	b.WriteString("## Exit statuses\n\n| exit status | means |\n|---|---|\n" +
		"| 0 | all assertions passed |\n| 1 | an assertion about the product failed |\n" +
		"| 2 | the harness was used wrongly or broke: usage, socket, RPC or parse error |\n" +
		"| 3 | this host lacks something; the last line on stderr says what and how to get it |\n\n" +
		wrap("A command that uses these statuses differently says so below. The last line on stderr is always the reason. "+
			"[Verdicts](verdicts.md) explains whose fault is which.") + "\n")
	_ = eachCommand(root, func(c *cobra.Command) error {
		if c == root || c.Name() == "completion" || c.HasParent() && c.Parent().Name() == "completion" {
			return nil
		}
		level := strings.Repeat("#", strings.Count(c.CommandPath(), " ")+1)
		_, arguments, _ := strings.Cut(c.Use, " ")
		heading := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
		fmt.Fprintf(&b, "\n%s %s\n\n", level, heading)
		long, status := described(c)
		if arguments != "" {
			fmt.Fprintf(&b, "Arguments: `%s`\n\n", arguments)
		}
		for _, paragraph := range strings.Split(long, "\n\n") {
			if strings.HasPrefix(paragraph, "  - ") { // a list
				b.WriteString(strings.ReplaceAll(paragraph[2:], "\n  ", "\n") + "\n\n")
			} else if strings.HasPrefix(paragraph, " ") {
				// In help, words stand beside a command; on a page they are a comment, so that it can be pasted.
				example := strings.TrimSpace(strings.ReplaceAll(paragraph, "\n  ", "\n"))
				example = regexp.MustCompile(`(?m)^(spicelane .*?\S)( {2,})(\S)`).ReplaceAllString(example, "$1$2# $3")
				fmt.Fprintf(&b, "```sh\n%s\n```\n\n", example)
			} else {
				b.WriteString(wrap(markdown(paragraph)) + "\n\n")
			}
		}
		rows := ""
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" {
				name, usage := flagCell(f)
				rows += fmt.Sprintf("| %s | %s |\n", code(name), markdown(usage))
			}
		})
		if rows != "" {
			b.WriteString("| flag | |\n|---|---|\n" + rows + "\n")
		}
		if strings.Contains(c.Long, "\nExit status: ") {
			b.WriteString(wrap("Exit status: "+markdown(status)) + "\n")
		}
		return nil
	})
	return regexp.MustCompile(`\n{3,}`).ReplaceAllString(strings.TrimRight(b.String(), "\n")+"\n", "\n\n")
}

// aField is one field of a configuration, or several that one comment describes.
type aField struct {
	names []string
	doc   string
}

// fieldsOf returns the exported fields of a struct in a file, each with its comment.
func fieldsOf(t *testing.T, file, name string) []aField {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	require.NoError(t, err)
	var all []aField
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			if !f.Names[0].IsExported() || strings.HasPrefix(f.Doc.Text(), "Deprecated:") {
				continue
			}
			doc := f.Doc.Text()
			if doc == "" { // the comment of the field before it is about this one, too
				last := &all[len(all)-1]
				last.names = append(last.names, f.Names[0].Name)
				continue
			}
			all = append(all, aField{names: []string{f.Names[0].Name}, doc: doc})
		}
		return false
	})
	require.NotEmpty(t, all, "%s has no %s", file, name)
	return all
}

// configurationPage returns the reference of harness.Config.
func configurationPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# The configuration of a lane\n\n" + wrap("This page is made from the comments in `harness/config.go`: each field of `harness.Config`, its flag at "+
		"`spicelane up` and at the other commands that bring lanes up, and what it does. The zero value of each field is its default. "+
		"`make reference` makes this page again.") +
		"\n\n| field | in [plans](plans.md) | flag | does |\n|---|---|---|---|\n")
	config := reflect.TypeFor[harness.Config]()
	for _, f := range fieldsOf(t, "../../harness/config.go", "Config") {
		var names, keys, flags []string
		for _, name := range f.names {
			field, ok := config.FieldByName(name)
			require.True(t, ok, name)
			names = append(names, code(name+" "+field.Type.String()))
			if key, _, _ := strings.Cut(field.Tag.Get("json"), ","); key != "-" {
				keys = append(keys, code(key))
			}
			if noFlag[name] == "" {
				flags = append(flags, code("--"+flagName(name)))
			} else {
				flags = append(flags, "–")
			}
		}
		join := func(list []string) string { return strings.Join(slices.Compact(list), ", ") }
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", join(names), join(keys), join(flags), markdown(strings.Join(strings.Fields(f.doc), " ")))
	}
	b.WriteString("\n" + wrap("An example in Go is in [getting started](getting-started.md). The configuration of a guest is in [its YAML entry](fixtures.md), "+
		"that of the proxy in the flags of [`spicelane proxy`](commands.md#proxy), and what the environment changes in [the environment](environment.md).") + "\n")
	return b.String()
}

// sameAsPage fails the test if a page is not what it is made from; with SPICELANE_UPDATE it writes it.
func sameAsPage(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("SPICELANE_UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	if string(got) != want {
		t.Errorf("%s is not what it is made from: run make reference", path)
	}
}

func TestTheReferenceOfTheCommandsIsThatOfTheProgram(t *testing.T) {
	page := commandsPage(newRoot())
	sameAsPage(t, "../../docs/commands.md", page)
	for _, c := range newRoot().Commands() {
		if !c.Hidden && !slices.Contains([]string{"help", "completion"}, c.Name()) {
			require.Contains(t, page, "\n## "+c.Name()+"\n")
		}
	}
	changed := newRoot()
	up, _, err := changed.Find([]string{"up"})
	require.NoError(t, err)
	up.Flags().Bool("colour", false, "red")
	require.NotEqual(t, page, commandsPage(changed), "a new flag changes the page")
}

func TestTheReferenceOfTheConfigurationIsThatOfTheCode(t *testing.T) {
	sameAsPage(t, "../../docs/configuration.md", configurationPage(t))
	shown := make(map[string]bool)
	for _, f := range fieldsOf(t, "../../harness/config.go", "Config") {
		for _, name := range f.names {
			shown[name] = true
		}
	}
	config := reflect.TypeFor[harness.Config]()
	for i := range config.NumField() {
		if f := config.Field(i); f.IsExported() && f.Name != "LinkIn" && !shown[f.Name] {
			t.Errorf("the page lacks %s", f.Name)
		}
	}
}

// knownKeys returns the keys that a sources file may have at a place, from the error about another.
func knownKeys(t *testing.T, text string) []string {
	t.Helper()
	_, err := sources.OpenText("sources.yaml", []byte(text), sources.Config{Kinds: kinds})
	require.Error(t, err)
	m := regexp.MustCompile(`nosuchkey: is not a known key: ([a-z_, ]+)`).FindStringSubmatch(err.Error())
	require.NotNil(t, m, "%v", err)
	return strings.Split(m[1], ", ")
}

// documentedKeys returns the keys in the first column of the table under a heading of a page.
func documentedKeys(t *testing.T, page, heading string) []string {
	t.Helper()
	_, section, found := strings.Cut(page, "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var keys []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, key := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[1], -1) {
			keys = append(keys, key[1])
		}
	}
	return keys
}

func TestTheReferenceOfSourcesHasTheKeysThatAreRead(t *testing.T) {
	b, err := os.ReadFile("../../docs/sources.md")
	require.NoError(t, err)
	page := string(b)
	require.ElementsMatch(t, knownKeys(t, "- nosuchkey: 1\n  source: a\n  type: static\n"), documentedKeys(t, page, "A static source"))
	require.ElementsMatch(t, knownKeys(t, "- source: a\n  type: static\n  consoles:\n    - nosuchkey: 1\n"), documentedKeys(t, page, "A console"))
	require.ElementsMatch(t, knownKeys(t, "- nosuchkey: 1\n  type: libvirt\n"), documentedKeys(t, page, "A libvirtd"))
	require.ElementsMatch(t, knownKeys(t, "- nosuchkey: 1\n  type: qmp\n"), documentedKeys(t, page, "Running QEMUs"))
	examples := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(page, -1)
	require.Len(t, examples, 4)
	ca, err := pki.New(pki.Config{})
	require.NoError(t, err)
	pem := filepath.Join(t.TempDir(), "ca-cert.pem")
	require.NoError(t, os.WriteFile(pem, ca.CACert, 0o600))
	for _, m := range examples {
		text := strings.ReplaceAll(m[1], "/etc/pki/libvirt-spice/ca-cert.pem", pem)
		c, err := sources.OpenText("sources.yaml", []byte(text), sources.Config{Kinds: kinds})
		require.NoError(t, err, "%s", text)
		require.NoError(t, c.Close())
	}
}
