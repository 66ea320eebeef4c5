package host

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Events records Events on the anchor of a release.
type Events struct {
	namespace   string
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

// NewEvents returns a recorder of Events in a namespace of the host. Stop must be called in the
// end.
func NewEvents(client kubernetes.Interface, namespace string) *Events {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(namespace)})
	return &Events{
		namespace:   namespace,
		broadcaster: broadcaster,
		recorder:    broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "sublet"}),
	}
}

// Stop stops the recorder. Events that are not sent yet are lost.
func (e *Events) Stop() { e.broadcaster.Shutdown() }

// RecordStandby records on the anchor why this replica does not serve.
func (e *Events) RecordStandby(anchor metav1.OwnerReference, reason string) {
	e.record(anchor, corev1.EventTypeWarning, "Standby", reason)
}

// RecordBackup records on the anchor that backups fail, or that they succeed again.
func (e *Events) RecordBackup(anchor metav1.OwnerReference, failed bool, message string) {
	if failed {
		e.record(anchor, corev1.EventTypeWarning, "BackupFailed", message)
		return
	}
	e.record(anchor, corev1.EventTypeNormal, "BackupSucceeded", message)
}

// RecordScaled records on the anchor that the control plane was scaled, or why it could not be.
func (e *Events) RecordScaled(anchor metav1.OwnerReference, failed bool, message string) {
	if failed {
		e.record(anchor, corev1.EventTypeWarning, "ScaleFailed", message)
		return
	}
	e.record(anchor, corev1.EventTypeNormal, "Scaled", message)
}

// record records an Event on the anchor. The recorder aggregates repeats into a count.
func (e *Events) record(anchor metav1.OwnerReference, kind, reason, message string) {
	if e == nil || anchor.UID == "" {
		return
	}
	e.recorder.Event(&corev1.ObjectReference{
		APIVersion: anchor.APIVersion, Kind: anchor.Kind, Namespace: e.namespace, Name: anchor.Name, UID: anchor.UID,
	}, kind, reason, message)
}
