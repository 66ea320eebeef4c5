package virtualscheduler

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// TestClassesHaveAProvisioner checks that the scheduler takes the host for the provisioner of a
// class that has none, and that nobody else does.
func TestClassesHaveAProvisioner(t *testing.T) {
	t.Parallel()
	class := func(name, provisioner string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner}
	}
	synctest.Test(t, func(t *testing.T) {
		shared := informers.NewSharedInformerFactory(fake.NewClientset(class("made", noProvisioner), class("fast", "csi.example.com")), 0)
		lister := (&sharedInformers{shared}).Storage().V1().StorageClasses().Lister()
		stop := make(chan struct{})
		shared.Start(stop)
		shared.WaitForCacheSync(stop)
		want := map[string]string{"made": hostProvisioner, "fast": "csi.example.com"}
		got := map[string]string{}
		classes, err := lister.List(apilabels.Everything())
		if err != nil {
			t.Fatal(err)
		}
		for _, class := range classes {
			got[class.Name] = class.Provisioner
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		for name, provisioner := range want {
			if class, err := lister.Get(name); err != nil || class.Provisioner != provisioner {
				t.Errorf("%s: got %v, %v, want %s", name, class, err, provisioner)
			}
		}
		hidden, err := lister.Get("hidden")
		if err != nil || hidden.Provisioner != hostProvisioner || *hidden.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
			t.Errorf("claims of a class that the tenant does not see may wait for a pod: got %v, %v", hidden, err)
		}
		if class, err := shared.Storage().V1().StorageClasses().Lister().Get("made"); err != nil || class.Provisioner != noProvisioner {
			t.Errorf("others see %v, %v", class, err)
		}
		close(stop)
		shared.Shutdown()
	})
}
