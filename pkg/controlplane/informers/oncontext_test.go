package informers

import (
	"testing"

	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func TestOnContextEndsWithItsChannel(t *testing.T) {
	t.Parallel()
	factory := NewOnContext(clientinformers.NewSharedInformerFactory(fake.NewSimpleClientset(), 0))
	informer := factory.Core().V1().Pods().Informer()
	stop := make(chan struct{})
	factory.Start(stop)
	factory.Start(stop)
	if got := len(factory.starts); got != 1 {
		t.Errorf("One channel has %d goroutines", got)
	}
	if informer.IsStopped() {
		t.Error("The informer must run until the channel is closed")
	}
	close(stop)
	factory.Shutdown() // It waits for the informers.
	if !informer.IsStopped() {
		t.Error("The informer must end with the channel")
	}
}
