package libvirt

import (
	"time"

	"github.com/spicelane/spicelane/spice/console"
)

// ConsoleOf returns what a domain's XML says of its console, or why nobody can be led
// there.
func ConsoleOf(text, host, everywhere string) (console.Console, string, error) {
	d, err := parseDomain(text)
	if err != nil {
		return console.Console{}, "", err
	}
	c, why := d.console(about{source: "kvm7", caCert: []byte("the CA"), hostSubject: "CN=kvm7", everywhere: everywhere}, host)
	return c, why, nil
}

// TicketOf returns the password in a domain's XML, and why it lets nobody in.
func TicketOf(text string, now time.Time) (ticket, why string, err error) {
	d, err := parseDomain(text)
	if err != nil {
		return "", "", err
	}
	return d.spice().ticket(), d.spice().locked(now), nil
}

// Impatient makes sources that are opened from now on wait less, until the function that it
// returns is called.
func Impatient(answer, beat time.Duration) (restore func()) {
	oldAnswer, oldBeat := answerTimeout, heartbeat
	answerTimeout, heartbeat = answer, beat
	return func() { answerTimeout, heartbeat = oldAnswer, oldBeat }
}
