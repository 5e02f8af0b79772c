package sources_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/spicelane/spicelane/sources"
)

const text = `
- source: ci
  type: static
  consoles:
    - uuid: "6f4e2c1a-0000-0000-0000-000000000001"
      name: "beacon-1"
      hypervisor: "localhost"
      hypervisor_ip: "127.0.0.1"
      insecure_port: 5910
      ticket: "example-ticket"
`

// A catalogue lists the consoles of all its sources. Open reads a file and watches it.
func ExampleOpenText() {
	catalog, err := sources.OpenText("sources.yaml", []byte(text), sources.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer catalog.Close()
	consoles, err := catalog.Consoles(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range consoles {
		network, address := c.Address()
		fmt.Printf("%s/%s: %s, %s %s\n", c.Source, c.UUID, c.Name, network, address)
	}
	// Output:
	// ci/6f4e2c1a-0000-0000-0000-000000000001: beacon-1, tcp 127.0.0.1:5910
}

// Each mistake in a file is an error that names file, line and field.
func ExampleFieldError() {
	_, err := sources.Parse("sources.yaml", []byte("- source: ci\n  type: static\n  consoles:\n    - uuid: a\n      prot: 5910\n"))
	var field *sources.FieldError
	if errors.As(err, &field) {
		fmt.Println(field.File, field.Line, field.Field)
	}
	// Output:
	// sources.yaml 5 consoles[0].prot
}

// A program that knows its consoles needs no file.
func ExampleNewCatalog() {
	static, err := sources.NewStatic("lab", sources.Console{UUID: "1", Name: "rack 7", Hypervisor: "kvm7", InsecurePort: 5900})
	if err != nil {
		fmt.Println(err)
		return
	}
	catalog, err := sources.NewCatalog(static)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := catalog.Console(context.Background(), "lab", "1")
	fmt.Println(c.Name, err)
	_, err = catalog.Console(context.Background(), "lab", "2")
	fmt.Println(err != nil)
	// Output:
	// rack 7 <nil>
	// true
}
