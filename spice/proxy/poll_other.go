//go:build !(linux || darwin || freebsd)

package proxy

const canPoll = false

type poller struct{}

func newPoller() *poller { return nil }

// wait is never called: no connection is a pollConn here.
func (c *pollConn) wait() error { return nil }
