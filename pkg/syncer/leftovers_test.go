package syncer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestLeftovers(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(corev1.Resource("configmaps"), "", errors.New("no"))
	tests := map[string]struct {
		reason  string
		keep    bool
		hold    string
		list    error
		quiet   bool
		left    []string // names of ConfigMaps on the host afterwards
		message string
		detail  string
	}{
		"Deleted": {
			reason: "a copy goes, and what is not proven to be ours stays",
			left:   []string{"forged", "operator"}, message: "No copies are left",
		},
		"Kept": {
			reason: "copies that hold data are named instead", keep: true,
			left: []string{"copy", "forged", "operator"}, message: "1 copies from before stay", detail: "delete configmaps -l",
		},
		"OnHold": {
			reason: "a doubtful store is no reason to delete", hold: "older",
			left: []string{"copy", "forged", "operator"}, message: "not deleted yet", detail: "on hold",
		},
		"Forbidden": {
			reason: "the permission has gone with the setting", list: forbidden,
			left: []string{"copy", "forged", "operator"}, message: "may be left", detail: "delete configmaps -l",
		},
		"NotServed": {
			reason: "a kind that the host does not have has no copies", list: &meta.NoKindMatchError{},
			left: []string{"copy", "forged", "operator"}, message: "No copies are left",
		},
		"Quiet": {
			reason: "a kind that is off by default needs no word", list: forbidden, quiet: true,
			left: []string{"copy", "forged", "operator"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := &corev1.ConfigMap{}
			translate.Stamp(testCluster(), translate.Hashed, types.NamespacedName{Namespace: "shop", Name: "settings"}, "u", copied)
			forged := copied.DeepCopy()
			forged.Name = "forged"
			operators := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testCluster().Namespace, Name: "operator"}}
			host := fake.NewClientBuilder().WithObjects(copied, forged, operators).WithInterceptorFuncs(interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					if _, metadata := list.(*metav1.PartialObjectMetadataList); metadata && test.list != nil {
						return test.list
					}
					return c.List(ctx, list, options...)
				},
			}).Build()
			leftover := Leftover{Kind: configMaps(), Keep: test.keep, Quiet: test.quiet}
			l := &leftovers{
				kinds: []Leftover{leftover}, client: host, scheme: scheme.Scheme, cluster: testCluster(),
				clock: clocktesting.NewFakeClock(testStart()), log: silent(), checks: map[string]syncz.Check{},
				holdReason: func() string { return test.hold },
			}
			kept, err := l.sweep(t.Context(), leftover)
			l.record(leftover, kept, err)
			var left corev1.ConfigMapList
			if err := host.List(t.Context(), &left); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range left.Items {
				names = append(names, strings.Replace(c.Name, copied.Name, "copy", 1))
			}
			slices.Sort(names)
			if !slices.Equal(names, test.left) {
				t.Errorf("%s: left are %v, want %v", test.reason, names, test.left)
			}
			checks := l.list()
			if test.quiet {
				if len(checks) > 0 {
					t.Errorf("%s: got %+v", test.reason, checks)
				}
				return
			}
			if len(checks) != 1 || !strings.Contains(checks[0].Message, test.message) || !strings.Contains(strings.Join(checks[0].Details, "\n"), test.detail) {
				t.Errorf("%s: got %+v, want %q and %q", test.reason, checks, test.message, test.detail)
			}
		})
	}
}

// TestLeftoversTryAll shows that an object that cannot be deleted keeps neither the others nor other kinds.
func TestLeftoversTryAll(t *testing.T) {
	t.Parallel()
	var objects []client.Object
	for _, name := range []string{"a", "b"} {
		for _, object := range []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}} {
			translate.Stamp(testCluster(), translate.Hashed, types.NamespacedName{Namespace: "shop", Name: name}, "u", object)
			objects = append(objects, object)
		}
	}
	stuck := objects[0].GetName()
	host := fake.NewClientBuilder().WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			if object.GetObjectKind().GroupVersionKind().Kind == "ConfigMap" && object.GetName() == stuck {
				return apierrors.NewInternalError(errors.New("a webhook is away"))
			}
			return c.Delete(ctx, object, options...)
		},
	}).Build()
	secrets := configMaps()
	secrets.name, secrets.newHost = "secrets", func() client.Object { return &corev1.Secret{} }
	c := clocktesting.NewFakeClock(testStart())
	l := &leftovers{
		kinds: []Leftover{{Kind: configMaps()}, {Kind: secrets}}, client: host, scheme: scheme.Scheme, cluster: testCluster(),
		clock: c, log: silent(), checks: map[string]syncz.Check{}, holdReason: func() string { return "" },
	}
	ctx, stop := context.WithCancel(t.Context())
	stop() // after the first round
	l.run(ctx)
	var configMapsLeft corev1.ConfigMapList
	var secretsLeft corev1.SecretList
	if err := errors.Join(host.List(t.Context(), &configMapsLeft), host.List(t.Context(), &secretsLeft)); err != nil {
		t.Fatal(err)
	}
	if len(configMapsLeft.Items) != 1 || configMapsLeft.Items[0].Name != stuck || len(secretsLeft.Items) != 0 {
		t.Errorf("left are %d ConfigMaps and %d Secrets, want one ConfigMap", len(configMapsLeft.Items), len(secretsLeft.Items))
	}
}

// TestLeftoversOfTheHost deletes the virtual copies of a kind of the host that is switched off. Those that the
// tenant has made stay.
func TestLeftoversOfTheHost(t *testing.T) {
	t.Parallel()
	copied := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx", Annotations: map[string]string{labels.HostUID: "u"}}}
	own := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "own"}}
	kind := Define("ingressclasses", Resource[*networkingv1.IngressClass, *networkingv1.IngressClass]{Owner: Host, Names: translate.Same})
	for reason, list := range map[string]error{"served": nil, "not served": apierrors.NewNotFound(networkingv1.Resource("ingressclasses"), "")} {
		virtual := fake.NewClientBuilder().WithObjects(copied.DeepCopy(), own.DeepCopy()).WithInterceptorFuncs(interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, into client.ObjectList, options ...client.ListOption) error {
				if _, metadata := into.(*metav1.PartialObjectMetadataList); metadata && list != nil {
					return list
				}
				return c.List(ctx, into, options...)
			},
		}).Build()
		l := &leftovers{
			virtual: virtual, scheme: scheme.Scheme, cluster: testCluster(), clock: clocktesting.NewFakeClock(testStart()), log: silent(),
			kinds: []Leftover{{Kind: kind, Quiet: true}}, checks: map[string]syncz.Check{}, holdReason: func() string { return "another store" },
		}
		l.run(t.Context())
		var left networkingv1.IngressClassList
		if err := virtual.List(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
		if count := len(left.Items); list == nil && (count != 1 || left.Items[0].Name != "own") || list != nil && count != 2 {
			t.Errorf("%s: left are %d classes", reason, count)
		}
		if checks := l.list(); len(checks) > 0 {
			t.Errorf("%s: got %+v", reason, checks)
		}
	}
}
