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

// run prints the logs.
func (o *options) run(ctx context.Context, env *host.Env, name string) error {
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
	query := &corev1.PodLogOptions{Container: release.ControlPlaneContainer, Follow: o.follow, Previous: o.previous}
	if o.tail >= 0 {
		query.TailLines = &o.tail
	}
	if o.since > 0 {
		seconds := int64(o.since / time.Second)
		query.SinceSeconds = &seconds
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, pod := range pods {
		prefix := ""
		if len(pods) > 1 {
			prefix = pod + " "
		}
		group.Go(func() error {
			stream, err := h.Client.CoreV1().Pods(h.Namespace).GetLogs(pod, query).Stream(ctx)
			if err != nil {
				return fault.Wrap(err, "cannot get the log of pod %s/%s", h.Namespace, pod)
			}
			return errors.Join(copyLines(&mu, env.Out, stream, prefix), stream.Close())
		})
	}
	return group.Wait()
}

// copyLines prints each line with a prefix. Lines of several pods do not mix.
func copyLines(mu *sync.Mutex, out io.Writer, in io.Reader, prefix string) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		mu.Lock()
		_, err := fmt.Fprintf(out, "%s%s\n", prefix, lines.Text())
		mu.Unlock()
		if err != nil {
			return fmt.Errorf("cannot print: %w", err)
		}
	}
	return lines.Err()
}
