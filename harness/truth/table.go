package truth

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
)

// kinds are the columns of the table, besides the failed steps.
var kinds = []catalogue.Kind{catalogue.Exact, catalogue.Within, catalogue.Dropped, catalogue.Dies, catalogue.ServerWrong}

// WriteTable writes the table by operation, the additional comparisons, and the failures.
func (r *Report) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "operation\tsteps\tran\t")
	for _, k := range kinds {
		fmt.Fprintf(tw, "%s\t", k)
	}
	fmt.Fprintln(tw, "FAIL\t")
	total := Row{Operation: "all", By: map[catalogue.Kind]int{}}
	for _, row := range r.Rows {
		row.write(tw)
		total.Steps += row.Steps
		total.Ran += row.Ran
		total.Failed += row.Failed
		for k, n := range row.By {
			total.By[k] += n
		}
	}
	total.write(tw)
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\ncompressions: %s\n", strings.Join(r.Settings, ", "))
	fmt.Fprintf(w, "besides: %d pictures of clients that connected later", r.Fresh)
	if r.Gtk > 0 {
		fmt.Fprintf(w, ", %d of spice-gtk", r.Gtk)
	}
	if r.Foreign > 0 {
		fmt.Fprintf(w, ", %d of the foreign client", r.Foreign)
	}
	fmt.Fprintf(w, "\ntook %s, %.0f steps a second\n", r.Took.Round(100*time.Millisecond), float64(r.Ran)/r.Took.Seconds())
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAIL %s\n", f.String())
	}
	if r.Stopped != "" {
		fmt.Fprintf(w, "stopped %s\n", r.Stopped)
	}
	return nil
}

func (row *Row) write(w io.Writer) {
	fmt.Fprintf(w, "%s\t%d\t%d\t", row.Operation, row.Steps, row.Ran)
	for _, k := range kinds {
		fmt.Fprintf(w, "%s\t", count(row.By[k]))
	}
	fmt.Fprintf(w, "%s\t\n", count(row.Failed))
}

// count omits zeros, so that other numbers stand out.
func count(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// Err returns nil if the report is OK. Otherwise the error counts the failures by hop, and has the
// first one.
func (r *Report) Err() error {
	if r.OK() {
		return nil
	}
	if len(r.Failures) == 0 {
		return fmt.Errorf("truth: stopped %s", r.Stopped)
	}
	by := map[string]int{}
	for _, f := range r.Failures {
		by[f.Hop]++
	}
	var hops []string
	for hop, n := range by {
		hops = append(hops, fmt.Sprintf("%d of the %s", n, hop))
	}
	slices.Sort(hops)
	return fmt.Errorf("%d of %d steps failed (%s); the first: %s", len(r.Failures), r.Ran, strings.Join(hops, ", "), r.Failures[0].String())
}
