package check

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// reportTimeout bounds the request for the health of the parts.
const reportTimeout = 15 * time.Second

// checkReplicas checks that each replica of the control plane is ready.
func (t *target) checkReplicas(ctx context.Context) result {
	const name = "replicas"
	if t.installed.Replicas == 0 {
		return fail(name, "Start it with: kubectl -n "+t.Namespace+" scale statefulset "+t.Name+" --replicas=1", "it is scaled to 0 replicas")
	}
	pods, err := t.installed.PodNames(ctx, t.client)
	if err != nil {
		return failWith(name, err)
	}
	for _, podName := range pods {
		pod, err := t.client.CoreV1().Pods(t.Namespace).Get(ctx, podName, metav1.GetOptions{})
		fix := fmt.Sprintf("Look at it with: kubectl -n %s describe pod %s", t.Namespace, podName)
		if err != nil {
			return fail(name, fix, "cannot get pod %s: %v", podName, err)
		}
		if reason := release.PodReason(pod); reason != "" {
			return fail(name, fix, "pod %s: %s", pod.Name, reason)
		}
	}
	return pass(name, "%d of %d replicas are ready", t.installed.Ready, t.installed.Replicas)
}

// checkParts checks that the control plane answers through the host, and that each part is healthy.
func checkParts(ctx context.Context, target *connection.Target) result {
	const name = "parts"
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	report, err := target.Report(ctx)
	if err != nil {
		return failWith(name, fmt.Errorf("cannot get the health of the parts through the host: %w", err))
	}
	for _, part := range report.Checks {
		if !part.Healthy {
			return fail(name, "See all with: sublet describe "+target.Release.Name+" -n "+target.Release.Namespace, "%s: %s", part.Name, part.Message)
		}
	}
	return pass(name, "all %d parts are healthy", len(report.Checks))
}

// checkVirtualAPI checks that the virtual API answers here, at its address or through a tunnel.
func checkVirtualAPI(ctx context.Context, target *connection.Target) result {
	const name = "virtual-api"
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	began := time.Now()
	way, err := target.Reach(ctx)
	if err != nil {
		return failWith(name, err)
	}
	return pass(name, "the virtual API answers by %s in %s", way, time.Since(began).Round(time.Millisecond))
}
