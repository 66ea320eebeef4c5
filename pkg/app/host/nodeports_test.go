package host

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
)

func TestNodePortRange(t *testing.T) {
	t.Parallel()
	refusal := func(text string) error {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), "",
			field.ErrorList{field.Invalid(field.NewPath("spec.ports[0].nodePort"), 1, text)})
	}
	for name, tc := range map[string]struct {
		reason  string
		setting string
		unasked bool
		answer  error
		want    string
		asked   int
	}{
		"Wide": {
			reason: "the host's words", want: "20000-40000", asked: 1,
			answer: refusal("provided port is not in the valid range. The range of valid ports is 20000-40000"),
		},
		"OtherWords":  {reason: "a host that says something else", answer: refusal("no"), asked: 1},
		"Forbidden":   {reason: "a host that lets nobody create Services", answer: apierrors.NewForbidden(corev1.Resource("services"), "", errors.New("policy")), asked: 1},
		"Unreachable": {reason: "a start does not fail for this", answer: errors.New("range of valid ports is 1-2"), asked: 1},
		"Taken":       {reason: "a host that takes it gets it deleted", asked: 1},
		"Set":         {reason: "the setting wins", setting: "30000-31000", want: "30000-31000"},
		"NoServices":  {reason: "without Services there is no permission to ask", unasked: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset()
			asked := 0
			client.PrependReactor("create", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				create, ok := action.(clienttesting.CreateAction)
				if !ok {
					return false, nil, nil
				}
				service, ok := create.GetObject().(*corev1.Service)
				if !ok || service.Spec.Ports[0].NodePort <= 65535 {
					t.Errorf("%s: the host could take it: %v", tc.reason, action)
				}
				return tc.answer != nil, nil, tc.answer
			})
			d := &Discovery{Client: client, Release: shop(), NodePortRange: tc.setting, AsksNodePorts: !tc.unasked}
			defer func() {
				if left, err := client.CoreV1().Services(shop().Namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
					t.Errorf("%s: left over: %v, %v", tc.reason, left.Items, err)
				}
			}()
			if got := d.hostNodePorts(t.Context()); got != tc.want || asked != tc.asked {
				t.Errorf("%s: range %q after %d requests, want %q after %d", tc.reason, got, asked, tc.want, tc.asked)
			}
		})
	}
}

// slowServices is a host whose webhook for Services takes longer than any client waits. Patches of ConfigMaps fail once
// their context has ended, unlike those of the fake client.
type slowServices struct{ kubernetes.Interface }

// CoreV1 implements [kubernetes.Interface].
func (s slowServices) CoreV1() coreclient.CoreV1Interface { return slowCore{s.Interface.CoreV1()} }

type slowCore struct{ coreclient.CoreV1Interface }

// Services implements [coreclient.ServicesGetter].
func (c slowCore) Services(namespace string) coreclient.ServiceInterface {
	return slowService{c.CoreV1Interface.Services(namespace)}
}

// ConfigMaps implements [coreclient.ConfigMapsGetter].
func (c slowCore) ConfigMaps(namespace string) coreclient.ConfigMapInterface {
	return contextConfigMap{c.CoreV1Interface.ConfigMaps(namespace)}
}

type slowService struct{ coreclient.ServiceInterface }

// Create implements [coreclient.ServiceInterface].
func (slowService) Create(ctx context.Context, _ *corev1.Service, _ metav1.CreateOptions) (*corev1.Service, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

type contextConfigMap struct{ coreclient.ConfigMapInterface }

// Patch implements [coreclient.ConfigMapInterface].
func (c contextConfigMap) Patch(ctx context.Context, name string, kind types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string,
) (*corev1.ConfigMap, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.ConfigMapInterface.Patch(ctx, name, kind, data, options, subresources...)
}

// TestSlowServices starts for the first time on a host that does not answer about Services. The attempt has time left
// for its claim. Time is simulated.
func TestSlowServices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiscovery(t, fake.NewClientset(chartObjects(nil)...))
		d.Client, d.AsksNodePorts = slowServices{d.Client}, true
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		facts, _, err := d.Discover(ctx, noStandby(t))
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took >= askTimeout || facts.NodePortRange != "" {
			t.Errorf("The first start took %s with the range %q, want less than %s and no range", took, facts.NodePortRange, askTimeout)
		}
	})
}
