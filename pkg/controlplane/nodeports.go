package controlplane

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	apistorage "k8s.io/apiserver/pkg/storage"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/rangeallocation"
)

// nodePortKey is the key of the record of node ports. The allocator of the API server
// reads it there.
const nodePortKey = "/ranges/servicenodeports"

// nodePortRecord is the record of allocated node ports in the store. Upstream has one
// that cannot be shared, and opens a further connection to the store.
type nodePortRecord struct {
	storage apistorage.Interface
	// failed is called with the error of a read or write.
	failed func(error)
}

var _ rangeallocation.RangeRegistry = (*nodePortRecord)(nil)

// newNodePortStorage returns the storage of the record, on the shared store.
func newNodePortStorage(factory *serverstorage.DefaultStorageFactory, store sharedStore) (apistorage.Interface, func(), error) {
	config, err := factory.NewConfig(core.Resource("services"), &core.Service{})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot configure the record of node ports: %w", err)
	}
	newRecord := func() runtime.Object { return &core.RangeAllocation{} }
	const cached = false
	return store.decorator(cached)(config.ForResource(core.Resource("servicenodeportallocations")), nodePortKey,
		nil, newRecord, newRecord, nil, nil, nil)
}

// Get returns the record. It has no resource version if there is none yet.
func (r *nodePortRecord) Get() (*core.RangeAllocation, error) {
	record := &core.RangeAllocation{}
	err := r.storage.Get(context.Background(), nodePortKey, apistorage.GetOptions{IgnoreNotFound: true}, record) //nolint:forbidigo // the interface has none
	if err != nil {
		err = fmt.Errorf("cannot read the record of node ports: %w", err)
		r.failed(err)
		return nil, err
	}
	return record, nil
}

// CreateOrUpdate writes the record if it is still the one that Get returned. Otherwise it
// returns a conflict.
func (r *nodePortRecord) CreateOrUpdate(record *core.RangeAllocation) error {
	update := func(input runtime.Object) (runtime.Object, error) {
		stored := input.(*core.RangeAllocation).ResourceVersion
		if stored != "" && stored != record.ResourceVersion {
			return nil, apierrors.NewConflict(core.Resource("servicenodeportallocations"), "", errors.New("the record has changed"))
		}
		return record, nil
	}
	err := r.storage.GuaranteedUpdate(context.Background(), nodePortKey, &core.RangeAllocation{}, true, nil, //nolint:forbidigo // the interface has none
		apistorage.SimpleUpdate(update), nil)
	if err == nil || apierrors.IsConflict(err) {
		return err
	}
	err = fmt.Errorf("cannot write the record of node ports: %w", err)
	r.failed(err)
	return err
}

// reportingServices lists Services and reports a failure, which upstream only logs.
type reportingServices struct {
	corev1client.ServicesGetter
	failed func(error)
}

// Services returns the Services of a namespace.
func (s reportingServices) Services(namespace string) corev1client.ServiceInterface {
	return reportingServiceList{s.ServicesGetter.Services(namespace), s.failed}
}

// reportingServiceList is what reportingServices returns.
type reportingServiceList struct {
	corev1client.ServiceInterface
	failed func(error)
}

// List lists Services.
func (s reportingServiceList) List(ctx context.Context, options metav1.ListOptions) (*corev1.ServiceList, error) {
	list, err := s.ServiceInterface.List(ctx, options)
	if err != nil {
		s.failed(fmt.Errorf("cannot list Services: %w", err))
	}
	return list, err
}
