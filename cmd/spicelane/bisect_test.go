package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// The page's commands run in a directory with the repository, the plan and the archive that it names.
func TestTheCommandsOfTheBisectionsDocumentRun(t *testing.T) {
	need.Long(t)
	t.Parallel()
	need.Program(t, "git")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"check.yaml": "name: check\njobs:\n  check:\n    steps:\n      - run: cd \"$SPICELANE_BISECT_TREE\" && ./check.sh\n",
		"prepare.md": "```sh\n" + `git init -q -b main proxy
cd proxy
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=a@example.org
printf '#!/bin/sh\ngrep -q good source\n' >check.sh
chmod +x check.sh
for i in 1 2 3 4 5 6; do
	if test $i -lt 4; then echo good $i >source; else echo bad $i >source; fi
	git add -A
	git commit -q -m "change $i"
	test $i -gt 1 || git tag v1
done
cd ..
for i in 1 2 3 4 5 6; do
	for n in 1 2 3 4 5 6 7 8 9 10; do
		if test $i -lt 4; then end=pass; else end=fail; fi
		echo '{"Time":"2026-11-0'$i'T10:00:00Z","Action":"run","Package":"p","Test":"TestBoot"}'
		echo '{"Action":"'$end'","Package":"p","Test":"TestBoot","Elapsed":1}'
	done >lanes.json
	mkdir -p run
	mv lanes.json run
	spicelane archive add run --identity proxy=build-$i
done
` + "```\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	store := "SPICELANE_ARCHIVE=" + filepath.Join(dir, "store")
	runDocument(t, filepath.Join(dir, "prepare.md"), dir, store)
	runDocument(t, "../../docs/bisect.md", dir, store)
	for _, name := range []string{"search/bisect.html", "by-plan/bisect.html", "with-archive/bisect.html"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, string(b), "change 4 (Ann")
	}
}
