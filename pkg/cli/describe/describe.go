// Package describe is the command "sublet describe".
package describe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

const (
	// reportTimeout bounds the request for the health of the parts.
	reportTimeout = 10 * time.Second
	// maxEvents bounds the Events that are shown.
	maxEvents = 10
)

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show the health of a virtual cluster, part by part",
		Long: `Show the health of each part of a virtual cluster, its pods, its quota, and what its host reports.

The health of the parts comes from the operator's port of the control plane, through the host.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), env, args[0])
		},
	}
}

// run prints the description.
func run(ctx context.Context, env *host.Env, name string) error {
	h, found, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	clusters, err := release.List(ctx, h.Client, h.Namespace)
	if err != nil {
		return err
	}
	for _, cluster := range clusters {
		if cluster.Name == name {
			found = &cluster
		}
	}
	var text bytes.Buffer // nothing is printed after Ctrl-C
	out := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	printSummary(out, h, found)
	pods, err := found.PodNames(ctx, h.Client)
	if err != nil {
		return err
	}
	printPods(ctx, out, h, pods)
	printQuota(ctx, out, h)
	printParts(ctx, out, connection.New(env, h, name, connection.Options{}))
	printEvents(ctx, out, h, found, pods)
	if err := errors.Join(out.Flush(), ctx.Err()); err != nil {
		return err
	}
	if _, err := text.WriteTo(env.Out); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

// printSummary prints what "sublet list" shows.
func printSummary(out io.Writer, h *host.Host, c *release.Cluster) {
	fmt.Fprintf(out, "Name:\t%s\nNamespace:\t%s\nHost:\t%s\nStatus:\t%s\n", c.Name, c.Namespace, h.Context, c.Status)
	fmt.Fprintf(out, "Version:\t%s\nReplicas:\t%d of %d ready\n", c.Version, c.Ready, c.Replicas)
	if c.Store != "" {
		fmt.Fprintf(out, "Store:\t%s\n", syncz.Line(c.Store))
	}
	fmt.Fprintf(out, "Age:\t%s\n", duration.HumanDuration(time.Since(c.Created)))
	if c.HasRequests {
		fmt.Fprintf(out, "Tenant:\t%d pods on %d nodes, requests cpu=%s memory=%s\n", c.Pods, c.Nodes, c.CPU.String(), c.Memory.String())
	}
}

// printPods prints why pods of the control plane are not ready, and their restarts.
func printPods(ctx context.Context, out io.Writer, h *host.Host, names []string) {
	fmt.Fprintln(out, "Control plane:")
	for _, name := range names {
		pod, err := h.Client.CoreV1().Pods(h.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			fmt.Fprintf(out, "  %s\tcannot get it: %v\n", name, err)
			continue
		}
		state := "ready"
		if reason := release.PodReason(pod); reason != "" {
			state = reason
		}
		restarts := int32(0)
		for _, status := range pod.Status.ContainerStatuses {
			restarts += status.RestartCount
		}
		where := ""
		if pod.Spec.NodeName != "" {
			where = ", on node " + pod.Spec.NodeName
		}
		fmt.Fprintf(out, "  %s\t%s, %d restarts%s\n", name, state, restarts, where)
	}
}

// printQuota prints use and limit of each quota of the namespace.
func printQuota(ctx context.Context, out io.Writer, h *host.Host) {
	quotas, err := h.Client.CoreV1().ResourceQuotas(h.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(quotas.Items) == 0 {
		return
	}
	fmt.Fprintln(out, "Quota:")
	for _, quota := range quotas.Items {
		names := []string{}
		for name := range quota.Status.Hard {
			names = append(names, string(name))
		}
		slices.Sort(names)
		for _, name := range names {
			used, hard := quota.Status.Used[corev1.ResourceName(name)], quota.Status.Hard[corev1.ResourceName(name)]
			fmt.Fprintf(out, "  %s\t%s of %s\n", name, used.String(), hard.String())
		}
	}
}

// printParts prints the health of each part. A port that does not answer is a line with the reason.
func printParts(ctx context.Context, out io.Writer, target *connection.Target) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	fmt.Fprintln(out, "Parts:")
	report, err := target.Report(ctx)
	if err != nil {
		fmt.Fprintf(out, "  unknown\t%v\n", err)
		return
	}
	for _, check := range report.Printable().Checks {
		mark := "ok"
		if !check.Healthy {
			mark = "FAILED"
		}
		fmt.Fprintf(out, "  %s\t%s %s\n", check.Name, mark, check.Message)
		for _, detail := range check.Details {
			fmt.Fprintf(out, "  \t  %s\n", detail)
		}
	}
}

// printEvents prints the last warnings about objects of the release.
func printEvents(ctx context.Context, out io.Writer, h *host.Host, c *release.Cluster, pods []string) {
	events, err := h.Client.CoreV1().Events(h.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return
	}
	own := slices.DeleteFunc(events.Items, func(event corev1.Event) bool {
		name := event.InvolvedObject.Name
		_, isPod := c.Ordinal(name)
		return !isPod && !slices.Contains(pods, name) && name != c.Name && name != c.Anchor()
	})
	slices.SortFunc(own, func(a, b corev1.Event) int { return lastSeen(&a).Compare(lastSeen(&b)) })
	if len(own) == 0 {
		return
	}
	fmt.Fprintln(out, "Warnings:")
	for _, event := range own[max(0, len(own)-maxEvents):] {
		age := duration.HumanDuration(time.Since(lastSeen(&event)))
		fmt.Fprintf(out, "  %s ago\t%s %s: %s\n", age, event.InvolvedObject.Name, syncz.Line(event.Reason), syncz.Line(event.Message))
	}
}

// lastSeen returns when an event was last recorded. Newer recorders set other fields than
// older ones.
func lastSeen(event *corev1.Event) time.Time {
	last := event.CreationTimestamp.Time
	for _, at := range []time.Time{event.EventTime.Time, event.LastTimestamp.Time} {
		if at.After(last) {
			last = at
		}
	}
	if event.Series != nil && event.Series.LastObservedTime.After(last) {
		last = event.Series.LastObservedTime.Time
	}
	return last
}
