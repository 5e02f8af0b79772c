package runner

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
)

// sftpClient returns a client of an SFTP server in this process, for this host's files.
func sftpClient(t *testing.T) *sftp.Client {
	t.Helper()
	serverIn, clientOut := io.Pipe()
	clientIn, serverOut := io.Pipe()
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{serverIn, serverOut})
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve()
		_ = serverOut.Close() // the client waits for it
	}()
	client, err := sftp.NewClientPipe(clientIn, clientOut)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		<-served
	})
	return client
}

func TestAProgramThatBecameExecutableIsExecutableOnOtherHosts(t *testing.T) {
	t.Parallel()
	files, dir := sftpClient(t), t.TempDir()
	file, cache := filepath.Join(dir, "check.sh"), filepath.Join(dir, "cache")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"), 0o600))
	plain, err := putByContent(files, file, cache)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(file, 0o700)) //nolint:gosec // a program
	for range 2 {
		to, err := putByContent(files, file, cache)
		require.NoError(t, err)
		st, err := os.Stat(to)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), st.Mode())
	}
	st, err := os.Stat(plain)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode(), "another run may use it")
}

// The worker removes its work directory when it has passed. Until then, its small files are copied.
func TestWhatAWorkerRemovedAtItsEndDoesNotStayHere(t *testing.T) {
	t.Parallel()
	files, dir := sftpClient(t), t.TempDir()
	there, here := filepath.Join(dir, "there"), filepath.Join(dir, "here")
	write := func(path, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write(filepath.Join(there, "work", "half"), "x")
	write(filepath.Join(there, "lanes", "lane", "serial.log"), "hello")
	write(filepath.Join(here, LogFile), "log")
	write(filepath.Join(here, "artifacts", "out", "x"), "reused from an earlier run")
	require.NoError(t, fetch(files, there, here, true))
	require.FileExists(t, filepath.Join(here, "work", "half"))
	require.NoError(t, os.RemoveAll(filepath.Join(there, "work")))
	require.NoError(t, fetch(files, there, here, false))
	var left []string
	require.NoError(t, filepath.WalkDir(here, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(here, path)
			left = append(left, rel)
		}
		return err
	}))
	require.ElementsMatch(t, []string{"artifacts/out/x", "lanes/lane/serial.log", LogFile}, left)
}
