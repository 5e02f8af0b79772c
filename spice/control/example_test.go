package control_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// exampleSocket opens the control socket of a console that a test made. A lane's socket is in
// "spicelane status NAME --json".
func exampleSocket() (path string, stop func()) {
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		panic(err)
	}
	path = filepath.Join(dir, "s")
	srv, err := server.Open(path, server.Config{Console: controltest.New(320, 240)})
	if err != nil {
		panic(err)
	}
	return path, func() {
		_ = srv.Close()
		_ = os.RemoveAll(dir)
	}
}

// A driver looks at a console and presses a key.
func ExampleDial() {
	path, stop := exampleSocket()
	defer stop()
	ctx := context.Background()
	d, err := control.Dial(ctx, path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	st, err := d.Status(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, ok := st.Primary()
	fmt.Println(s.Width, s.Height, ok)
	fmt.Println(d.SendKey(ctx, control.KeyEnter, control.Press))
	img, err := d.Image(ctx, control.ScreenshotParams{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(img.Bounds().Size())
	// Output:
	// 320 240 true
	// <nil>
	// (320,240)
}

// The server waits for a condition, so that a driver need not ask again and again. If it does not
// hold in time, the error says what was seen last.
func ExampleDriver_Await() {
	path, stop := exampleSocket()
	defer stop()
	ctx := context.Background()
	d, err := control.Dial(ctx, path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	wanted := control.Condition{Surface: &control.SurfaceCondition{Width: 640, Height: 480}}
	_, err = d.Await(ctx, control.AwaitParams{Condition: wanted, TimeoutMS: new(uint32)}) // 0: look once
	var answer *control.Error
	if errors.As(err, &answer) {
		fmt.Println(answer.Code)
		fmt.Println(answer.Message)
	}
	// Output:
	// timeout
	// not within 0s: a surface of 640x480 (last seen: surface 0 on channel 0 of 320x240)
}

// A key has a name, or is a combination.
func ExampleParseKey() {
	for _, name := range []string{"a", "F10", "Ctrl+Alt+Delete"} {
		codes, err := control.ParseKey(name)
		fmt.Printf("%s: %#x %v\n", name, codes, err)
	}
	// Output:
	// a: [0x1e] <nil>
	// F10: [0x44] <nil>
	// Ctrl+Alt+Delete: [0x1d 0x38 0xe053] <nil>
}
