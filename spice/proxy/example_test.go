package proxy_test

import (
	"context"
	"fmt"

	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// one is a catalogue of one console. Package sources has catalogues that read a file, ask a libvirtd,
// or ask running QEMUs.
type one struct{ it proxy.Console }

func (o one) Consoles(context.Context) ([]proxy.Console, error) {
	return []proxy.Console{o.it}, nil
}

func (o one) Console(_ context.Context, source, uuid string) (proxy.Console, error) {
	if source != o.it.Source || uuid != o.it.UUID {
		return proxy.Console{}, &proxy.UnknownConsoleError{Source: source, UUID: uuid}
	}
	return o.it, nil
}

// A proxy hands out virt-viewer files. Each has a fresh token, and neither the console's address nor
// its ticket.
func ExampleStart() {
	ctx := context.Background()
	bundle, err := pki.New(pki.Config{}) // a CA and a certificate; programs load theirs
	if err != nil {
		fmt.Println(err)
		return
	}
	catalog := one{proxy.Console{Source: "lab", UUID: "1", Name: "rack 7", Hypervisor: "192.0.2.7", InsecurePort: 5900, Ticket: "example-ticket"}}
	p, err := proxy.Start(ctx, proxy.Config{TLS: bundle, Consoles: catalog})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	file, err := p.VV(ctx, "lab", "1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(file.Title, file.Host, file.TLSPort > 0, file.Password != catalog.it.Ticket)
	_, err = p.VV(ctx, "lab", "2")
	fmt.Println(err != nil)
	// Output:
	// rack 7 127.0.0.1 true true
	// true
}
