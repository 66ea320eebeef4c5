package admission

import (
	"context"
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// maxQueues is the maximum number of queues of a priority level. Kubernetes allows ten million, which need
// more memory than the process has, also after each restart.
const maxQueues = 1000

// checkPriorityLevels denies priority levels with very many queues.
func checkPriorityLevels(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	level, _, err := writtenObject[flowcontrolv1.PriorityLevelConfiguration](a, o)
	if err != nil || level == nil || level.Spec.Limited == nil {
		return Decision{}, err
	}
	queuing := level.Spec.Limited.LimitResponse.Queuing
	if queuing == nil || queuing.Queues <= maxQueues {
		return Decision{}, nil
	}
	return Decision{Violations: []policy.Violation{{
		Field: "spec.limited.limitResponse.queuing.queues", Value: strconv.Itoa(int(queuing.Queues)),
		Detail: "each queue takes memory of the control plane; at most " + strconv.Itoa(maxQueues),
	}}}, nil
}
