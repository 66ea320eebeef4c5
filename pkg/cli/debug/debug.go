// Package debug is the command "sublet debug".
package debug

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/metadata"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/output"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// collectTimeout bounds each file of the bundle.
const collectTimeout = 30 * time.Second

// options has the flags.
type options struct {
	file   string
	dryRun bool
	tail   int64
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Collect what others need to look into a problem",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(collectCommand(env))
	return cmd
}

// collectCommand returns the command that writes a bundle.
func collectCommand(env *host.Env) *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "collect NAME",
		Short: "Write a bundle with the state of a virtual cluster, without secrets",
		Long: `Write a bundle with the state of a virtual cluster: a tar file that others can look at.

Each file is redacted by the type of its objects. Of Secrets, only metadata is ever requested. Values of
environment variables, ConfigMaps and unknown annotations are left out. Of settings, text stays only where it
is the default or one of a fixed list. In logs, tokens, keys, passwords and certificates are replaced.

Look at the list first with --dry-run, and into the bundle before you pass it on.`,
		Example: `  sublet debug collect shop --dry-run
  sublet debug collect shop --file shop.tar.gz`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args[0])
		},
	}
	cmd.Flags().StringVar(&o.file, "file", "", "File to write (default: NAME-TIME.tar.gz)")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "Print what the bundle would have, and write nothing")
	cmd.Flags().Int64Var(&o.tail, "tail", 5000, "Last lines of each log")
	return cmd
}

// item is one file of the bundle.
type item struct {
	// Name is its path in the bundle.
	Name string
	// Source is where its content comes from, and Redaction what is left out.
	Source, Redaction string
	// collect returns the content.
	collect func(ctx context.Context) ([]byte, error)
}

// run lists the files of the bundle, and writes them.
func (o *options) run(ctx context.Context, env *host.Env, name string) error {
	h, found, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	metadataClient, err := metadata.NewForConfig(h.Config)
	if err != nil {
		return fault.Wrap(err, "cannot use context %q", h.Context)
	}
	pods, err := found.PodNames(ctx, h.Client)
	if err != nil {
		return err
	}
	c := &collector{
		Release: found.Release, host: h, pods: pods, tail: o.tail, metadata: metadataClient,
		operator: connection.New(env, h, name, connection.Options{}),
	}
	items := c.items()
	if o.dryRun {
		return list(env.Out, items)
	}
	file := o.file
	if file == "" {
		file = fmt.Sprintf("%s-%s.tar.gz", name, time.Now().UTC().Format("20060102-150405"))
	}
	failures, err := write(ctx, file, items)
	if err != nil {
		return fault.Wrap(err, "cannot write %s", file)
	}
	for _, failure := range failures {
		fmt.Fprintf(env.Err, "Warning: %s\n", failure)
	}
	fmt.Fprintf(env.Err, "Wrote %s with %d files. Look into it before you pass it on: tar -tzf %s\n", file, len(items)-len(failures), file)
	return nil
}

// list prints the files of the bundle.
func list(out io.Writer, items []item) error {
	rows := make([][]string, 0, len(items))
	for _, i := range items {
		rows = append(rows, []string{i.Name, i.Source, i.Redaction})
	}
	return output.Plain(out, []output.Column{{Name: "FILE"}, {Name: "SOURCE"}, {Name: "LEFT OUT"}}, rows)
}

// write writes the bundle. It returns the files that could not be collected. A bundle with only some
// files is better than none.
func write(ctx context.Context, file string, items []item) (failures []string, err error) {
	target, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	compressed := gzip.NewWriter(target)
	archive := tar.NewWriter(compressed)
	now := time.Now()
	var contents bytes.Buffer
	for _, i := range items {
		data, err := collectOne(ctx, i)
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), target.Close(), os.Remove(file))
		}
		if err != nil {
			failures = append(failures, fmt.Sprintf("cannot collect %s: %s", i.Name, redactText(err.Error())))
			continue
		}
		fmt.Fprintf(&contents, "%s\t%s\tleft out: %s\n", i.Name, i.Source, i.Redaction)
		if err := add(archive, i.Name, data, now); err != nil {
			return nil, errors.Join(err, target.Close(), os.Remove(file))
		}
	}
	for _, failure := range failures {
		fmt.Fprintln(&contents, failure)
	}
	err = errors.Join(add(archive, "contents.txt", contents.Bytes(), now), archive.Close(), compressed.Close(), target.Close())
	if err != nil {
		return nil, errors.Join(err, os.Remove(file))
	}
	return failures, nil
}

// collectOne collects one file in a bounded time.
func collectOne(ctx context.Context, i item) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	return i.collect(ctx)
}

// add adds a file to the archive.
func add(archive *tar.Writer, name string, data []byte, now time.Time) error {
	header := &tar.Header{Name: "sublet-debug/" + strings.TrimPrefix(name, "/"), Mode: 0o600, Size: int64(len(data)), ModTime: now}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(data)
	return err
}
