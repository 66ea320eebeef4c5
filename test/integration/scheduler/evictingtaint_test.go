package scheduler

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// evictingTaint evicts the pods of a node by a taint of the tenant's own. Those that do not
// tolerate it go at once, those that tolerate it for a time go later.
func evictingTaint(t *testing.T, s *shop) {
	node := s.host.Nodes()[0]
	forever := corev1.Toleration{Key: "leave", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	forAWhile := forever
	forAWhile.TolerationSeconds = new(int64(2))
	pods := map[string][]corev1.Toleration{"leaves": nil, "lingers": {forAWhile}, "stays": {forever}}
	for name, tolerations := range pods {
		pod := newPod(name)
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
		pod.Spec.Tolerations = tolerations
		s.create(t, pod)
	}
	for name := range pods {
		s.running(t, name)
	}
	s.patchNode(t, node, `{"spec":{"taints":[{"key":"leave","effect":"NoExecute"}]}}`)
	defer s.patchNode(t, node, `{"spec":{"taints":null}}`)
	for _, name := range []string{"leaves", "lingers"} {
		eventually(t, name+" is evicted", func(ctx context.Context) error {
			if _, err := s.get(ctx, name); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is still there: %w", err)
			}
			return nil
		})
	}
	s.running(t, "stays")
}
