//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// smallStore is a memory limit that gives the store its smallest quota, 64 MiB.
const smallStore = "controlPlane.statefulSet.resources.limits.memory=512Mi"

// maxFill is more objects of almost 1 MiB than fit into the smallest store.
const maxFill = 200

// TestFullStore fills a store until it denies creates, restarts it, and empties it
// again. Updates and deletes work all the time, and creates work again by themselves.
func TestFullStore(t *testing.T) {
	t.Parallel()
	tn := install(t, "full", "full", smallStore)
	ctx := t.Context()
	maps := tn.virtual.CoreV1().ConfigMaps("default")
	filled, denied := tn.fill()
	if denied == nil {
		t.Fatalf("%d ConfigMaps of 1 MiB were accepted", filled)
	}
	t.Logf("denied after %d ConfigMaps: %v", filled, denied)

	patch := []byte(`{"metadata":{"labels":{"changed":"yes"}}}`)
	// The store is defragmented meanwhile, which takes seconds on a busy machine.
	eventually(t, "an update in the full store", func(ctx context.Context) error {
		_, err := maps.Patch(ctx, "fill-0", types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	tn.restart()
	eventually(t, "deletes in the full store", func(ctx context.Context) error {
		return maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=fill"})
	})
	emptied := time.Now()
	eventually(t, "the store takes objects again", func(ctx context.Context) error {
		if err := tn.createFill(ctx, "after"); !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil // The answer to an earlier request was lost.
	})
	figure("store_healed", time.Since(emptied).Seconds(), "s")
	pod, err := hostClient.CoreV1().Pods(tn.namespace).Get(ctx, tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := pod.Status.ContainerStatuses[0].RestartCount; n > 0 {
		t.Errorf("the control plane was restarted %d times", n)
	}
}

// fill creates ConfigMaps until one is denied. It returns their number and the error.
func (tn *tenant) fill() (int, error) {
	tn.t.Helper()
	for i := range maxFill {
		var denied error
		eventually(tn.t, "an answer to a create", func(ctx context.Context) error {
			err := tn.createFill(ctx, fmt.Sprintf("fill-%d", i))
			if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Code == http.StatusInsufficientStorage {
				denied = err
				return nil
			}
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		if denied != nil {
			return i, denied
		}
	}
	return maxFill, nil
}

// createFill creates a ConfigMap of almost 1 MiB that does not compress.
func (tn *tenant) createFill(ctx context.Context, name string) error {
	content := make([]byte, 700<<10)
	_, _ = rand.Read(content)
	_, err := tn.virtual.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": "fill"}},
		Data:       map[string]string{"x": base64.StdEncoding.EncodeToString(content)},
	}, metav1.CreateOptions{})
	return err
}
