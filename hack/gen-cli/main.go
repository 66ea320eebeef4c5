// Command gen-cli writes the reference of the command line from the commands themselves:
// docs/reference/cli.md and the man pages in docs/man. Run it in the root of the repository. With
// --check it writes nothing, and fails if a file is not up to date.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

func main() {
	check := flag.Bool("check", false, "write nothing, fail if a file is not up to date")
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gen-cli:", err)
		os.Exit(1)
	}
}

// run generates all files, and writes them or compares them.
func run(root string, check bool) error {
	files, err := generate()
	if err != nil {
		return err
	}
	stale, err := staleFiles(root, files)
	if err != nil {
		return err
	}
	if check && len(stale) > 0 {
		return fmt.Errorf("not up to date (run: go run ./hack/gen-cli): %s", strings.Join(stale, ", "))
	}
	for _, name := range stale {
		if err := replace(filepath.Join(root, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// staleFiles returns the names of the files that are not as they are generated, sorted. A man page
// of a command that is gone is one of them.
func staleFiles(root string, files map[string][]byte) ([]string, error) {
	existing, err := filepath.Glob(filepath.Join(root, "docs/man/*.1"))
	if err != nil {
		return nil, fmt.Errorf("cannot list man pages: %w", err)
	}
	var stale []string
	for _, path := range existing {
		name, err := filepath.Rel(root, path)
		if err != nil {
			return nil, fmt.Errorf("cannot name man page %s: %w", path, err)
		}
		if files[name] == nil {
			stale = append(stale, name)
		}
	}
	for name, content := range files {
		if current, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(current, content) {
			stale = append(stale, name)
		}
	}
	slices.Sort(stale)
	return stale, nil
}

// replace writes a file. It removes the file if content is nil.
func replace(path string, content []byte) error {
	if content == nil {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("cannot remove %s: %w", path, err)
		}
		return nil
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// generate returns all files: path -> content.
func generate() (map[string][]byte, error) {
	env := &host.Env{Flags: genericclioptions.NewConfigFlags(true)}
	// The default is a folder in the home of whoever runs this.
	cache := "$HOME/.kube/cache"
	env.Flags.CacheDir = &cache
	root := cli.Command(env, "sublet")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	files := map[string][]byte{"docs/reference/cli.md": page(root)}
	day := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, cmd := range append([]*cobra.Command{root}, visibleCommands(root)...) {
		var out bytes.Buffer
		header := &doc.GenManHeader{Title: strings.ToUpper(strings.ReplaceAll(cmd.CommandPath(), " ", "-")), Section: "1", Source: "Sublet", Manual: "Sublet", Date: &day}
		if err := doc.GenMan(cmd, header, &out); err != nil {
			return nil, fmt.Errorf("cannot generate the man page of %s: %w", cmd.CommandPath(), err)
		}
		files["docs/man/"+strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"] = out.Bytes()
	}
	return files, nil
}

// visibleCommands returns the commands that people see, each before the commands in it.
func visibleCommands(root *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, cmd := range root.Commands() {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		all = append(append(all, cmd), visibleCommands(cmd)...)
	}
	return all
}

// codes are the exit codes, as package fault has them.
const codes = `## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed for another reason than those below |
| 2 | wrong flags, arguments, settings or kubeconfig |
| 3 | the virtual cluster, context or file does not exist |
| 4 | a permission is missing, or credentials are not accepted |
| 5 | a server does not answer, or cannot be trusted |
| 6 | the wait took too long |
| 7 | it exists already, or somebody else changes it |
| 130 | interrupted |

` + "`sublet connect NAME -- COMMAND` ends with the exit code of the command.\n\n"

// page returns the reference page.
func page(root *cobra.Command) []byte {
	var out bytes.Buffer
	fmt.Fprint(&out, "# Command line\n\nGenerated from the commands by hack/gen-cli.\n\n")
	fmt.Fprintf(&out, "%s\n\nAs `kubectl-sublet` in the PATH, it is `kubectl sublet` too, and as `kubectl_complete-sublet` it completes names there. `sublet completion --help` explains how to complete names in a shell.\n\n", root.Long)
	fmt.Fprint(&out, "| command | what it does |\n|---|---|\n")
	for _, cmd := range visibleCommands(root) {
		path := cmd.CommandPath()
		fmt.Fprintf(&out, "| [%s](#%s) | %s |\n", strings.TrimPrefix(path, "sublet "), strings.ReplaceAll(path, " ", "-"), cmd.Short)
	}
	fmt.Fprint(&out, "\n"+codes)
	for _, cmd := range visibleCommands(root) {
		fmt.Fprintf(&out, "## %s\n\n%s\n\n```\n%s\n", cmd.CommandPath(), cmp.Or(cmd.Long, cmd.Short+"."), cmd.UseLine())
		if cmd.Example != "" {
			fmt.Fprintf(&out, "\n%s\n", cmd.Example)
		}
		fmt.Fprint(&out, "```\n\n")
		if flags := cmd.NonInheritedFlags().FlagUsages(); flags != "" {
			fmt.Fprintf(&out, "```\n%s```\n\n", flags)
		}
	}
	fmt.Fprintf(&out, "## Flags of all commands\n\nThey are kubectl's.\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	return out.Bytes()
}
