package admission

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestServiceAdmission(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason      string
		service     *corev1.Service
		old         *corev1.Service
		subresource string
		dryRun      bool
		want        func(*corev1.Service)
		calls       []string
	}{
		"Create": {
			reason: "the host's address is in the virtual Service before it is stored", service: service(nil),
			want: func(s *corev1.Service) {
				s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.7.7", []string{"10.96.7.7"}
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
			},
			calls: []string{"create services shop/web"},
		},
		"CreateLoadBalancer": {
			reason: "node ports and the health check's are the host's too",
			service: service(func(s *corev1.Service) {
				s.Spec.Type = corev1.ServiceTypeLoadBalancer
				s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			}),
			want: func(s *corev1.Service) {
				s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.7.7", []string{"10.96.7.7"}
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
				s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort = 30700, 31700
			},
			calls: []string{"create services shop/web"},
		},
		"Wish": {
			reason: "an address that the tenant chose is a wish to the host",
			service: service(func(s *corev1.Service) {
				s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.1.1", []string{"10.96.1.1"}
			}),
			calls: []string{"create services shop/web"},
		},
		"Headless": {
			reason:  "a headless Service has its host copy from the first moment on too",
			service: service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }),
			calls:   []string{"create services shop/web"},
		},
		"DryRun": {
			reason: "what only tries changes nothing on the host, and the address that a host makes up then is none", service: service(nil), dryRun: true,
			calls: []string{"try to create services shop/web"},
		},
		"ExternalName": {
			reason:  "a Service that is a name has no copy",
			service: service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }),
		},
		"UpdateMark": {
			reason: "a Service that was marked as somebody else's gets its copy, with what the host assigns, like a new one",
			old:    service(func(s *corev1.Service) { s.Labels = map[string]string{labels.ControlPlaneService: "true"} }), service: service(nil),
			want: func(s *corev1.Service) {
				s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.7.7", []string{"10.96.7.7"}
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
			},
			calls: []string{"update services shop/web"},
		},
		"ControlPlane": {
			reason:  "the chart's Services are there already",
			service: service(func(s *corev1.Service) { s.Labels = map[string]string{labels.ControlPlaneService: "true"} }),
		},
		"Kubernetes": {
			reason:  "so is default/kubernetes, which bears no label when the API server makes it",
			service: service(func(s *corev1.Service) { s.Namespace, s.Name = "default", "kubernetes" }),
		},
		"Status": {reason: "a status is no concern of the host", service: service(nil), old: service(nil), subresource: "status"},
		"UpdateNothing": {
			reason: "a change that concerns no address waits for the syncer", old: stored(nil),
			service: stored(func(s *corev1.Service) { s.Labels = map[string]string{"a": "b"} }),
		},
		"UpdateUnset": {
			reason: "a manifest without the assigned values, applied again, asks for nothing new", old: stored(nil),
			service: service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }),
		},
		"UpdatePort": {
			reason: "a new port has the host's node port when it is stored", old: stored(nil),
			service: stored(func(s *corev1.Service) {
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "b", Port: 81, Protocol: corev1.ProtocolTCP})
			}),
			want:  func(s *corev1.Service) { s.Spec.Ports[1].NodePort = 30701 },
			calls: []string{"update services shop/web"},
		},
		"FreeNodePort": {
			reason: "a load balancer without allocation gives up a port that is left out",
			old: stored(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, new(false)
			}),
			service: stored(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.AllocateLoadBalancerNodePorts, s.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, new(false), 0
			}),
			calls: []string{"update services shop/web"},
		},
		"UpdateType": {
			reason: "a change of the type goes to the host first",
			old: stored(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
			}),
			service: stored(func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 0 }),
			want:    func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30700 },
			calls:   []string{"update services shop/web"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := &fakeHost{}
			object := &internalService{Service: *test.service.DeepCopy()}
			var old runtime.Object
			operation := admission.Create
			if test.old != nil {
				old, operation = &internalService{Service: *test.old.DeepCopy()}, admission.Update
			}
			if err := admit(t, host, object, old, operation, test.subresource, test.dryRun); err != nil {
				t.Fatalf("%s: %v", test.reason, err)
			}
			want := test.service.DeepCopy()
			if test.old != nil && len(test.calls) == 0 && test.subresource == "" {
				// Whether the assigned values are filled in or left to the API server is the same.
				translate.CopyAssigned(test.old, want)
				translate.CopyAssigned(test.old, &object.Service)
			}
			if test.want != nil {
				test.want(want)
			}
			if diff := cmp.Diff(want, &object.Service); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if diff := cmp.Diff(test.calls, host.calls); diff != "" {
				t.Errorf("%s: calls (-want +got):\n%s", test.reason, diff)
			}
			if test.old != nil {
				if diff := cmp.Diff(test.old, &old.(*internalService).Service); diff != "" {
					t.Errorf("the old object is not ours to change:\n%s", diff)
				}
			}
		})
	}
}

func admit(t *testing.T, host HostFirst, object, old runtime.Object, operation admission.Operation, subresource string, dryRun bool) error {
	t.Helper()
	service := object.(*internalService).Service
	a := admission.NewAttributesRecord(object, old, corev1.SchemeGroupVersion.WithKind("Service"), service.Namespace, service.Name,
		corev1.SchemeGroupVersion.WithResource("services"), subresource, operation, nil, dryRun, nil)
	return applyServices(t, host, a, admission.NewObjectInterfacesFromScheme(internalScheme(t)))
}

// applyServices does what the API server does with the steps.
func applyServices(t *testing.T, host HostFirst, a admission.Attributes, o admission.ObjectInterfaces) error {
	t.Helper()
	steps := Services(ServiceOptions{Host: host})
	writes, err := steps.Prepare(t.Context(), a, o)
	if err != nil || !writes {
		return err
	}
	return steps.Apply(t.Context(), a, o)
}

// TestServiceStatus removes the mark of a Service without a copy by way of its status, with a spec that is not stored.
func TestServiceStatus(t *testing.T) {
	t.Parallel()
	marked := service(func(s *corev1.Service) {
		s.Labels = map[string]string{labels.ControlPlaneService: "true"}
		s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{{Port: 80, NodePort: 31277}}
	})
	for name, tc := range map[string]struct {
		old    *corev1.Service
		denied bool
	}{"Marked": {old: marked, denied: true}, "Plain": {old: service(func(s *corev1.Service) { s.Labels = map[string]string{"a": "b"} })}} {
		steps := Services(ServiceOptions{Host: &fakeHost{}, Rules: policy.NewServices(v1alpha1.Default().Policies.Services)})
		a := admission.NewAttributesRecord(&internalService{Service: *service(nil)}, &internalService{Service: *tc.old}, corev1.SchemeGroupVersion.WithKind("Service"),
			tc.old.Namespace, tc.old.Name, corev1.SchemeGroupVersion.WithResource("services"), "status", admission.Update, nil, false, nil)
		writes, err := steps.Prepare(t.Context(), a, admission.NewObjectInterfacesFromScheme(internalScheme(t)))
		if apierrors.IsForbidden(err) != tc.denied || err != nil && !tc.denied || writes {
			t.Errorf("%s: got %v, goes to the host first: %v", name, err, writes)
		}
	}
}

func TestServiceAdmissionOtherResource(t *testing.T) {
	t.Parallel()
	a := admission.NewAttributesRecord(&corev1.Pod{}, nil, corev1.SchemeGroupVersion.WithKind("Pod"), "shop", "web",
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, nil, false, nil)
	host := &fakeHost{}
	if err := applyServices(t, host, a, nil); err != nil || len(host.calls) > 0 {
		t.Errorf("a pod is no concern of this plugin: %v, %v", err, host.calls)
	}
}

func TestServiceAdmissionGeneratesName(t *testing.T) {
	t.Parallel()
	object := &internalService{Service: *service(func(s *corev1.Service) {
		s.Name, s.GenerateName = "", strings.Repeat("long-", 15)
	})}
	host := &fakeHost{}
	if err := admit(t, host, object, nil, admission.Create, "", false); err != nil {
		t.Fatal(err)
	}
	name := object.Service.Name
	if len(name) != 63 || !strings.HasPrefix(name, object.Service.GenerateName[:58]) {
		t.Errorf("the name %q is not one that the API server would generate from %q", name, object.Service.GenerateName)
	}
	if diff := cmp.Diff([]string{"create services shop/" + name}, host.calls); diff != "" {
		t.Errorf("the host Service is named after the final name (-want +got):\n%s", diff)
	}
}

// messageError is an error whose text was written for tenants.
type messageError string

func (e messageError) Error() string         { return "raw error in tenant-shop" }
func (e messageError) TenantMessage() string { return string(e) }

// couldNotWrite is the text for a host that did not decide.
const couldNotWrite = "Service shop/web was not changed: the host cluster could not write its copy. Try again."

func TestServiceAdmissionRefusal(t *testing.T) {
	t.Parallel()
	services := schema.GroupResource{Resource: "services"}
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "web-hash",
		field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIP"), "10.96.1.1", "provided IP is already allocated")})
	tests := map[string]struct {
		reason string
		err    error
		code   int32
		says   []string
		// retryAfter is when the client tries again, 0 for no matter.
		retryAfter int32
	}{
		"Quota": {
			reason: "a quota of the host is the tenant's error at once, in the host's words and the tenant's name",
			err:    apierrors.NewForbidden(services, "web-hash", errors.New("exceeded quota: tenants, requested: services=1")),
			code:   http.StatusForbidden, says: []string{`"web" is forbidden`, "host cluster refused", "exceeded quota of the host"},
		},
		"Invalid": {
			reason: "a value that the host cannot take is as invalid as one of the tenant's API server",
			err:    invalid, code: http.StatusUnprocessableEntity, says: []string{`"web" is invalid`, "spec.clusterIP", "already allocated"},
		},
		"Unreachable": {
			reason: "a host that does not answer is named, and trying again is the way out",
			err: fmt.Errorf("cannot create host object tenant-shop/web-hash: %w",
				&url.Error{Op: "Post", URL: "https://10.96.0.1:443/api/v1/namespaces/tenant-shop/services", Err: errors.New("dial tcp 10.96.0.1:443: connection refused")}),
			code: http.StatusServiceUnavailable, says: []string{"host cluster did not respond", "Try again"},
		},
		"NotStarted": {
			reason: "a syncer that cannot do it yet says so itself",
			err:    fmt.Errorf("cannot create: %w", messageError("the syncer has not started yet")),
			code:   http.StatusServiceUnavailable, says: []string{"Service shop/web was not changed: the syncer has not started yet. Try again."},
		},
		"Overloaded": {
			reason: "a host that has too much to do is one that does not answer",
			err:    apierrors.NewTooManyRequests("flow-schema tenants of 10.96.0.1 is full", 7),
			code:   http.StatusServiceUnavailable, says: []string{couldNotWrite}, retryAfter: 7,
		},
		"Webhook": {
			reason: "the host's own text names its webhooks, Services, namespaces and addresses",
			err: apierrors.NewInternalError(errors.New(`failed calling webhook "validate.kyverno.svc": failed to call webhook: ` +
				`Post "https://kyverno-svc.kyverno.svc:443/validate?timeout=10s": dial tcp 10.96.0.1:443: connect: connection refused`)),
			code: http.StatusServiceUnavailable, says: []string{couldNotWrite},
		},
		"Etcd": {
			reason: "an error without a known form is the host's too",
			err:    errors.New("etcdserver: leader changed at node-7.internal (10.96.0.1) in namespace tenant-shop"),
			code:   http.StatusServiceUnavailable, says: []string{couldNotWrite},
		},
		"Timeout": {
			reason: "a host that took too long names the object by its own name",
			err:    apierrors.NewServerTimeout(services, "create web-hash in tenant-shop", 3),
			code:   http.StatusServiceUnavailable, says: []string{couldNotWrite}, retryAfter: 3,
		},
		"Credentials": {
			reason: "credentials of the control plane that the host does not accept for now are no decision about the Service",
			err:    apierrors.NewUnauthorized("Unauthorized"),
			code:   http.StatusServiceUnavailable, says: []string{couldNotWrite},
		},
		"Changed": {
			reason: "what somebody else has changed at the same time passes by itself",
			err:    apierrors.NewConflict(services, "web-hash", errors.New("the object has been modified")),
			code:   http.StatusServiceUnavailable, says: []string{couldNotWrite},
		},
		"Unavailable": {
			reason: "a proxy before the host says what it is",
			err:    apierrors.NewServiceUnavailable("haproxy on node-7.internal: no server is available for tenant-shop"),
			code:   http.StatusServiceUnavailable, says: []string{couldNotWrite},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := &internalService{Service: *service(nil)}
			err := admit(t, &fakeHost{err: test.err}, object, nil, admission.Create, "", false)
			var status apierrors.APIStatus
			if !errors.As(err, &status) || status.Status().Code != test.code {
				t.Fatalf("%s: got %v, want code %d", test.reason, err, test.code)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%s: %q does not say %q", test.reason, err, text)
				}
			}
			if strings.Count(err.Error(), "is forbidden") > 1 {
				t.Errorf("%s: %q says it twice", test.reason, err)
			}
			for _, word := range []string{"10.96.0.1", "web-hash", "tenant-shop", "kyverno", "node-7", "flow-schema", "haproxy", "etcd"} {
				if strings.Contains(err.Error(), word) {
					t.Errorf("%s: %q has %q, which is the host's", test.reason, err, word)
				}
			}
			if details := status.Status().Details; test.retryAfter != 0 && (details == nil || details.RetryAfterSeconds != test.retryAfter) {
				t.Errorf("%s: details %+v do not ask to wait for %d s", test.reason, details, test.retryAfter)
			}
		})
	}
}

// TestDeleteAsksNoHost checks that only the syncer deletes host Services, after the virtual
// ones.
func TestDeleteAsksNoHost(t *testing.T) {
	t.Parallel()
	for _, operation := range []admission.Operation{admission.Delete, admission.Connect} {
		a := admission.NewAttributesRecord(nil, stored(nil), corev1.SchemeGroupVersion.WithKind("Service"), "shop", "web",
			corev1.SchemeGroupVersion.WithResource("services"), "", operation, nil, false, nil)
		writes, err := Services(ServiceOptions{Host: &fakeHost{}}).Prepare(t.Context(), a, admission.NewObjectInterfacesFromScheme(internalScheme(t)))
		if writes || err != nil {
			t.Errorf("%s: the host is asked: %v, %v", operation, writes, err)
		}
	}
}
