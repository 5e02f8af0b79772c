// Command lookaround brings a lane up, types a line and saves the picture that the
// client then shows. It is an example of a program on top of the harness.
//
//	go run ./lookaround -o screen.png
//
// Exit status: 0 if everything worked, otherwise that of the verdict: 1 product,
// 2 harness, 3 host.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

func main() {
	out := flag.String("o", "screen.png", "the picture's `FILE`")
	text := flag.String("text", "hello\n", "what to type")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := lookAround(ctx, *text, *out); err != nil {
		fmt.Fprintf(os.Stderr, "lookaround: %s fault: %v\n", verdict.Of(err), err)
		os.Exit(verdict.Of(err).ExitCode())
	}
}

func lookAround(ctx context.Context, text, out string) (err error) {
	lane, err := harness.Start(ctx, harness.Config{OnStep: func(s registry.Step) {
		fmt.Printf("%-8s %5d ms  %s\n", s.Name, s.MS, s.Detail)
	}})
	if err != nil {
		return err
	}
	fmt.Println("the evidence is in", lane.Dir())
	defer func() {
		if cerr := lane.Close(); err == nil {
			err = cerr
		}
	}()
	if err := lane.Type(ctx, text); err != nil {
		return err
	}
	img, err := lane.Screenshot(ctx)
	if err != nil {
		return err
	}
	return drive.WritePNG(out, img)
}
