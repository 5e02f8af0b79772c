package libvirt

import (
	"time"

	"github.com/spicelane/spicelane/spice/console"
)

// ConsoleOf returns the console that a domain's XML describes, or why no client can reach it.
func ConsoleOf(text, host, everywhere string) (console.Console, string, error) {
	d, err := parseDomain(text)
	if err != nil {
		return console.Console{}, "", err
	}
	c, why := d.console(about{source: "kvm7", caCert: []byte("the CA"), hostSubject: "CN=kvm7", everywhere: everywhere}, host)
	return c, why, nil
}

// TicketOf returns the password in a domain's XML, and why the server refuses it.
func TicketOf(text string, now time.Time) (ticket, why string, err error) {
	d, err := parseDomain(text)
	if err != nil {
		return "", "", err
	}
	return d.spice().ticket(), d.spice().locked(now), nil
}

// Impatient sets shorter timeouts for sources that are opened from now on. The returned function
// restores them.
func Impatient(answer, beat time.Duration) (restore func()) {
	oldAnswer, oldBeat := answerTimeout, heartbeat
	answerTimeout, heartbeat = answer, beat
	return func() { answerTimeout, heartbeat = oldAnswer, oldBeat }
}
