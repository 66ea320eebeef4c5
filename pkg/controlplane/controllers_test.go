package controlplane

import (
	"context"
	"fmt"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// TestControllersAreCreatedLater lets discovery fail while the controllers are created.
// That must not end the process: a tenant may be the reason.
func TestControllersAreCreatedLater(t *testing.T) {
	t.Parallel()
	server := startReplica(t, newSharedBackend(t), newBundle(t), "10.1.0.1")
	client, err := aggregatorclient.NewForConfig(server.ClientConfig("admin", pki.GroupAdmins))
	if err != nil {
		t.Fatal(err)
	}
	api := client.ApiregistrationV1().APIServices()
	server.server.Load().builtin.set.Store(nil) // otherwise the patch is denied
	patch := `{"metadata":{"labels":null},"spec":{"service":{"namespace":"default","name":"gone"},"insecureSkipTLSVerify":true}}`
	if _, err := api.Patch(t.Context(), "v1.", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "discovery", func(context.Context) string {
		if _, err := server.client.Discovery().ServerGroups(); err == nil {
			return "it does not fail"
		}
		return ""
	})

	term := start(t.Context(), server.RunControllers)
	eventually(t, "controllers without discovery", func(context.Context) string {
		if isClosed(term.done) {
			t.Fatalf("the term has ended: %v", term.err)
		}
		if check := server.tasks.Load().check(); check.Healthy {
			return "no check shows that they are missing"
		}
		return ""
	})
	requireContains(t, "the check", server.tasks.Load().check().Message, controllersTask)

	if err := api.Delete(t.Context(), "v1.", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deploy(t, "later", server, server)
	if check := server.tasks.Load().check(); !check.Healthy {
		t.Errorf("the check: got %q, want healthy", check.Message)
	}
	if err := term.stop(patience); err != nil {
		t.Errorf("the end of the term: %v", err)
	}
}

// testUnusedClassGoes deletes a class of volume attributes. Admission gives it a finalizer,
// which only its controller removes.
func testUnusedClassGoes(t *testing.T, p *plane) {
	classes := p.client.StorageV1().VolumeAttributesClasses()
	_, err := classes.Create(t.Context(), &storagev1.VolumeAttributesClass{
		ObjectMeta: metav1.ObjectMeta{Name: "unused"}, DriverName: "csi.example.com", Parameters: map[string]string{"iops": "1"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := classes.Delete(t.Context(), "unused", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the class", func(ctx context.Context) string {
		class, err := classes.Get(ctx, "unused", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("finalizers %v, %v", class.Finalizers, err)
	})
}
