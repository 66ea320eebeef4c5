package host

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Identity is the identity of this process among the replicas.
type Identity struct {
	// Pod is the name of the pod. Outside of a pod it is the name that the pod would have.
	Pod string
	// UID is the UID of the pod. Outside of a pod it is random.
	UID string
	// InPod is true if the process runs in a pod of the host. The host's API server then
	// proves the identity, because only one pod at a time has a name.
	InPod bool
}

// Record names the holder of a release: the replica that may serve and write.
type Record struct {
	// Pod and UID are the name and the UID of the holder's pod.
	Pod string `json:"pod,omitempty"`
	UID string `json:"uid,omitempty"`
	// Epoch grows by one with each successor. 0 means that there was no holder yet.
	Epoch int64 `json:"epoch,omitempty"`
}

// isOf reports whether the record names a process with the given identity.
func (r Record) isOf(identity Identity) bool {
	return r.Epoch > 0 && r.Pod == identity.Pod && r.UID == identity.UID
}

// recordOf returns the record on an anchor. It is zero if there is none.
func recordOf(anchor *corev1.ConfigMap) Record {
	epoch, err := strconv.ParseInt(anchor.Annotations[labels.HolderEpoch], 10, 64)
	if err != nil || epoch < 1 {
		epoch = 0
	}
	return Record{
		Pod:   anchor.Annotations[labels.Holder],
		UID:   anchor.Annotations[labels.HolderUID],
		Epoch: epoch,
	}
}

// annotations returns the record as annotations of the anchor.
func (r Record) annotations() map[string]any {
	return map[string]any{
		labels.Holder:      r.Pod,
		labels.HolderUID:   r.UID,
		labels.HolderEpoch: strconv.FormatInt(r.Epoch, 10),
	}
}
