package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/client-go/discovery"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"
	apiregistrationinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions"
)

// newAPIService returns an APIService whose server is available.
func newAPIService(name string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + name + ".example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: name + ".example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: name},
		},
		Status: apiregistrationv1.APIServiceStatus{Conditions: []apiregistrationv1.APIServiceCondition{
			{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue},
		}},
	}
}

// listGroups returns the groups of a discovery document.
func listGroups(t *testing.T, document http.Handler) []apidiscoveryv2.APIGroupDiscovery {
	t.Helper()
	answer := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/apis", nil)
	req.Header.Set("Accept", discovery.AcceptV2)
	document.ServeHTTP(answer, req)
	list := apidiscoveryv2.APIGroupDiscoveryList{}
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// countFresh returns how many groups a discovery document has, and of how many the server has answered.
func countFresh(t *testing.T, document http.Handler) (groups, fresh int) {
	t.Helper()
	all := listGroups(t, document)
	for _, group := range all {
		if group.Versions[0].Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent {
			fresh++
		}
	}
	return len(all), fresh
}

// awaitIdle waits until nothing happens in a bubble for a second.
func awaitIdle() {
	time.Sleep(time.Second) // by the fake clock of the bubble
	synctest.Wait()
}

// TestDocumentsAtOnce starts with many aggregated API servers. If all were asked at once, the memory for their
// documents would end the process, and each start after it.
func TestDocumentsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const servers = 20
		var objects []runtime.Object
		for i := range servers {
			objects = append(objects, newAPIService(fmt.Sprintf("server%d", i)))
		}
		factory := apiregistrationinformers.NewSharedInformerFactory(fake.NewClientset(objects...), 0)
		document := discoveryendpoint.NewResourceManager("apis")
		var asked atomic.Int64
		open := make(chan struct{})
		d := &aggregatedDiscovery{
			services: factory.Apiregistration().V1().APIServices(), target: document,
			serve: func(w http.ResponseWriter, _ *http.Request, service *apiregistrationv1.APIService, _ int64) {
				asked.Add(1)
				<-open
				w.Header().Set("Content-Type", discovery.AcceptV2)
				_ = json.NewEncoder(w).Encode(newDocument(service.Spec.Service.Name))
			},
		}
		d.services.Informer() // The factory starts only what somebody has asked for.
		ctx, cancel := context.WithCancel(t.Context())
		factory.StartWithContext(ctx)
		var succeeded atomic.Bool
		ended := make(chan error, 1)
		go func() { ended <- d.run(ctx, func() { succeeded.Store(true) }) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the discovery of aggregated APIs: %v", err)
			}
			factory.Shutdown()
		}()
		awaitIdle()
		if n := asked.Load(); n != 2 {
			t.Errorf("%d servers are asked at once, want 2", n)
		}
		if groups, fresh := countFresh(t, document); groups != servers || fresh != 0 || succeeded.Load() {
			t.Errorf("%d groups, %d fresh, succeeded %t; want %d stale ones before the servers answer", groups, fresh, succeeded.Load(), servers)
		}
		close(open)
		awaitIdle()
		if groups, fresh := countFresh(t, document); groups != servers || fresh != servers || !succeeded.Load() {
			t.Errorf("%d groups, %d fresh, succeeded %t; want %d fresh ones", groups, fresh, succeeded.Load(), servers)
		}
	})
}
