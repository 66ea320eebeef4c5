package replicas

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/test/etcd"
)

// controllersPod is the pod that runs what one leader does.
const controllersPod = "shop-controllers-0"

// TestSplit runs the API apart from the controllers. The API works while the controllers are
// away, also where it writes to the host, and what they missed is done when they are back.
func TestSplit(t *testing.T) {
	t.Parallel()
	values := sharedStore(etcd.Start(t, etcd.Options{}).Endpoint(), 1)
	controlPlane := values["controlPlane"].(map[string]any)
	maps.Copy(controlPlane, map[string]any{"advanced": map[string]any{"split": map[string]any{"enabled": true}}})
	w := newWorld(t, setup{values: values, replicas: 2})
	w.runPod(t, "before")
	if leader := w.awaitLeader(t, ""); leader.Pod != controllersPod {
		t.Errorf("%s leads, want %s", leader.Pod, controllersPod)
	}
	w.createService(t, "before")

	w.fleet.Kill(controllersPod)
	w.awaitReady(t, 1)
	w.createService(t, "alone")
	eventually(t, "the API takes a pod", func(ctx context.Context) error {
		_, err := w.createPod(ctx, "waiting")
		if apierrors.IsAlreadyExists(err) {
			return nil // The answer to an earlier try was lost.
		}
		return err
	})
	w.fleet.Restart(controllersPod)
	w.awaitReady(t, 2)
	eventually(t, "the pod runs that was created without controllers", func(ctx context.Context) error {
		client := w.api()
		if client == nil {
			return errNobody
		}
		pod, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "waiting", metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return err
	})
}

// api returns the client of a ready replica that serves the API, nil if there is none. Others
// serve one for themselves.
func (w *world) api() kubernetes.Interface {
	for _, replica := range w.fleet.Ready() {
		if !strings.HasPrefix(replica.Pod, "shop-controllers-") {
			return replica.Client()
		}
	}
	return nil
}

// createService creates a Service, which gets the address that the host has given to its copy.
func (w *world) createService(t *testing.T, name string) {
	t.Helper()
	var address string
	eventually(t, "the API takes Service "+name, func(ctx context.Context) error {
		client := w.api()
		if client == nil {
			return errNobody
		}
		services := client.CoreV1().Services(metav1.NamespaceDefault)
		created, err := services.Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			created, err = services.Get(ctx, name, metav1.GetOptions{})
		}
		if err == nil {
			address = created.Spec.ClusterIP
		}
		return err
	})
	eventually(t, "the host has Service "+name, func(ctx context.Context) error {
		services, err := w.host.Client().CoreV1().Services("shop").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, service := range services.Items {
			if service.Spec.ClusterIP == address {
				return nil
			}
		}
		return errors.New("none has address " + address)
	})
}
