package dbusdisplay

// CutListener ends the connection over which QEMU reports changes.
func (d *Display) CutListener() error {
	d.mu.Lock()
	conn := d.listener
	d.mu.Unlock()
	return conn.Close()
}
