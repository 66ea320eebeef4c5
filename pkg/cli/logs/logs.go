// Package logs is the command "sublet logs".
package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// maxLine bounds a line of a log.
const maxLine = 1 << 20

// options has the flags.
type options struct {
	follow, previous bool
	tail             int64
	since            time.Duration
	replica          int
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print the log of the control plane",
		Long:  `Print the log of the control plane. With several pods, each line starts with the name of its pod.`,
		Example: `  sublet logs shop --follow --tail 20
  sublet logs shop --previous`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.follow, "follow", "f", false, "Print new lines until Ctrl-C")
	flags.BoolVarP(&o.previous, "previous", "p", false, "Print the log of the container before its last restart")
	flags.Int64Var(&o.tail, "tail", -1, "Number of last lines of each pod (-1: all)")
	flags.DurationVar(&o.since, "since", 0, "Print lines that are newer than this, as in 5m (0: all)")
	flags.IntVar(&o.replica, "replica", -1, "Ordinal of one replica that serves the API (-1: all pods)")
	return cmd
}

// check fails for numbers that mean nothing.
func (o *options) check() error {
	switch {
	case o.tail < -1:
		return fault.New(fault.Usage, "Use a number of lines, or -1 for all.", "--tail is %d", o.tail)
	case o.replica < -1:
		return fault.New(fault.Usage, "Use the ordinal of a replica, or -1 for all pods.", "--replica is %d", o.replica)
	case o.since < 0:
		return fault.New(fault.Usage, "Use a time above 0, such as 5m, or 0 for all.", "--since is %s", o.since)
	}
	return nil
}

// run prints the logs.
func (o *options) run(ctx context.Context, env *host.Env, name string) error {
	if err := o.check(); err != nil {
		return err
	}
	h, cluster, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	if o.replica >= int(cluster.Replicas) {
		return fault.New(fault.Usage, fmt.Sprintf("Use a number below %d.", cluster.Replicas), "virtual cluster %s has no replica %d", name, o.replica)
	}
	pods := []string{cluster.Pod(o.replica)}
	if o.replica < 0 {
		if pods, err = cluster.PodNames(ctx, h.Client); err != nil {
			return err
		}
	}
	if len(pods) == 1 {
		return o.print(ctx, h, pods[0], env.Out)
	}
	return o.printAll(ctx, env, h, pods)
}

// query returns what to ask a pod for. Seconds are rounded up, as the host refuses 0.
func (o *options) query() *corev1.PodLogOptions {
	query := &corev1.PodLogOptions{Container: release.ControlPlaneContainer, Follow: o.follow, Previous: o.previous}
	if o.tail >= 0 {
		query.TailLines = &o.tail
	}
	if o.since > 0 {
		seconds := int64((o.since + time.Second - 1) / time.Second)
		query.SinceSeconds = &seconds
	}
	return query
}

// print prints the log of one pod.
func (o *options) print(ctx context.Context, h *host.Host, pod string, out io.Writer) error {
	stream, err := h.Client.CoreV1().Pods(h.Namespace).GetLogs(pod, o.query()).Stream(ctx)
	if err != nil {
		return fault.Wrap(err, "cannot get the log of pod %s/%s", h.Namespace, pod)
	}
	return errors.Join(copyLines(out, stream), stream.Close())
}

// printAll prints the logs of several pods. One that has none, as it does not run yet or has not
// restarted, keeps nobody from the others.
func (o *options) printAll(ctx context.Context, env *host.Env, h *host.Host, pods []string) error {
	var mu sync.Mutex
	var failed []error
	group, printing := errgroup.WithContext(ctx)
	for _, pod := range pods {
		lines := &prefixed{mu: &mu, out: env.Out, prefix: pod + " "}
		group.Go(func() error {
			err := o.print(printing, h, pod, lines)
			if err == nil || printing.Err() != nil || lines.err != nil {
				return lines.err
			}
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			fmt.Fprintf(env.Err, "Warning: %v\n", err)
			return nil
		})
	}
	err := group.Wait() // before a look at ctx
	if err = errors.Join(ctx.Err(), err); err != nil || len(failed) == 0 {
		return err
	}
	code, hint := fault.Classify(failed[0])
	return fault.New(code, hint, "cannot print the logs of %d of %d pods", len(failed), len(pods))
}

// prefixed is a printer of lines of one pod. Lines of several do not mix.
type prefixed struct {
	mu     *sync.Mutex
	out    io.Writer
	prefix string
	err    error // why nothing can be printed
}

// Write implements io.Writer for one line.
func (p *prefixed) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, p.err = fmt.Fprintf(p.out, "%s%s", p.prefix, line)
	return len(line), p.err
}

// copyLines prints each line at once.
func copyLines(out io.Writer, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if _, err := fmt.Fprintf(out, "%s\n", lines.Bytes()); err != nil {
			return fmt.Errorf("cannot print: %w", err)
		}
	}
	return lines.Err()
}
