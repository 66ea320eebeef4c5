// Package output prints what a command found: as a table for people, or in the formats of
// kubectl for programs.
package output

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
)

// formats of --output, for help.
const formats = "table|wide|json|yaml|name|jsonpath=...|go-template=..."

// Flags are the flags of a command that prints.
type Flags struct {
	print     *genericclioptions.PrintFlags
	NoHeaders bool
	// colours is true if tables have colours.
	colours bool
}

// AddFlags adds the flags to a command.
func (f *Flags) AddFlags(cmd *cobra.Command) {
	f.print = genericclioptions.NewPrintFlags("")
	f.print.AddFlags(cmd)
	flag := cmd.Flags().Lookup("output")
	flag.Usage = "Output format: " + formats
	// The flag exists.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "wide", "json", "yaml", "name", "jsonpath=", "go-template="},
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	cmd.Flags().BoolVar(&f.NoHeaders, "no-headers", false, "Print a table without its first line")
}

// IsTable reports whether a table is wanted.
func (f *Flags) IsTable() bool {
	switch *f.print.OutputFormat {
	case "", "table", "wide":
		return true
	}
	return false
}

// IsNames reports whether names alone are wanted.
func (f *Flags) IsNames() bool { return *f.print.OutputFormat == "name" }

// Check fails if the format is unknown. It is called before any request is sent. Tables get colours if colours
// is true.
func (f *Flags) Check(colours bool) error {
	f.colours = colours
	if f.IsTable() {
		return nil
	}
	_, err := f.print.ToPrinter()
	if err != nil {
		return &fault.Error{Code: fault.Usage, Message: "cannot print", Hint: "Use one of: " + formats, Cause: err}
	}
	return nil
}

// Column is one column of a table.
type Column struct {
	// Name is the title.
	Name string
	// Wide is true for a column of "-o wide" alone.
	Wide bool
	// Status is true for a column whose cells have colours.
	Status bool
}

// Table prints rows with the columns. An empty cell is printed as "-".
func (f *Flags) Table(out io.Writer, columns []Column, rows [][]string) error {
	return table(out, columns, rows, style{wide: *f.print.OutputFormat == "wide", headers: !f.NoHeaders, colours: f.colours})
}

// Plain prints a table of a command without flags for it.
func Plain(out io.Writer, columns []Column, rows [][]string) error {
	return table(out, columns, rows, style{headers: true})
}

// style is how a table looks.
type style struct{ wide, headers, colours bool }

// paint returns a cell in the colour of its meaning. All have the same number of bytes around them, also the title, so
// that columns stay in line.
func paint(cell string) string {
	const red, green, yellow, plain = 31, 32, 33, 39
	colour := plain
	switch cell {
	case "Ready", "ok":
		colour = green
	case "NotReady", "Deleting", "Stopped", "warning":
		colour = yellow
	case "Denied", "Failed", "Unreachable", "failed":
		colour = red
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, cell)
}

// table prints rows with the columns.
func table(out io.Writer, columns []Column, rows [][]string, look style) error {
	writer := printers.GetNewTabWriter(out)
	line := func(cells []string) {
		shown := make([]string, 0, len(cells))
		for i, cell := range cells {
			if cell == "" {
				cell = "-"
			}
			if columns[i].Wide && !look.wide {
				continue
			}
			cell = syncz.Line(cell)
			if columns[i].Status && look.colours {
				cell = paint(cell)
			}
			shown = append(shown, cell)
		}
		fmt.Fprintln(writer, strings.Join(shown, "\t"))
	}
	if look.headers {
		titles := make([]string, 0, len(columns))
		for _, column := range columns {
			titles = append(titles, column.Name)
		}
		line(titles)
	}
	for _, row := range rows {
		line(row)
	}
	if err := writer.Flush(); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

// Object prints an object in a format for programs.
func (f *Flags) Object(out io.Writer, content map[string]any) error {
	printer, err := f.print.ToPrinter()
	if err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	object := &unstructured.Unstructured{Object: content}
	if !object.IsList() {
		return printer.PrintObj(object, out)
	}
	list, err := object.ToList()
	if err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return printer.PrintObj(list, out)
}
