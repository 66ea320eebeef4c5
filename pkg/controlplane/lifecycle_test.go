package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// stopLimit is what a stop may take on a busy machine. Upstream waits for a minute where it
// waits for requests that do not end.
const stopLimit = 59 * time.Second

func TestRestartKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	dir, bundle := t.TempDir(), newBundle(t)
	config := func(kubernetesIP string) Config {
		return Config{
			Storage: storage.Embedded(dir), PKI: bundle, AdvertiseAddress: mustIP("10.1.2.3"),
			ServiceCIDR: "10.96.0.0/16", KubernetesServiceIP: mustIP(kubernetesIP),
		}
	}
	service := func(p *plane) *corev1.Service {
		t.Helper()
		got, err := p.client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}

	first := startPlane(t, config("10.96.3.3"))
	before := service(first)
	_, err := first.client.CoreV1().ConfigMaps("default").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopInTime(t, first)

	second := startPlane(t, config("10.96.3.3"))
	if _, err := second.client.CoreV1().ConfigMaps("default").Get(t.Context(), "mine", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	after := service(second)
	if after.UID != before.UID || after.Spec.ClusterIP != before.Spec.ClusterIP {
		t.Errorf("after a restart default/kubernetes is %s (%s), was %s (%s)",
			after.Spec.ClusterIP, after.UID, before.Spec.ClusterIP, before.UID)
	}
	stopInTime(t, second)

	third := startPlane(t, config("10.96.4.4"))
	if got, want := service(third).Spec.ClusterIP, "10.96.4.4"; got != want {
		t.Errorf("after the address has changed: got %s, want %s", got, want)
	}
}

// TestRolesComeUpToDate plays an upgrade: a role of the older version lacks a
// rule that this one's has.
func TestRolesComeUpToDate(t *testing.T) {
	t.Parallel()
	dir, bundle := t.TempDir(), newBundle(t)
	first := startPlane(t, Config{Storage: throwAway(dir), PKI: bundle})
	roles := first.client.RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), "system:discovery", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wanted := len(role.Rules[0].NonResourceURLs)
	role.Rules[0].NonResourceURLs = role.Rules[0].NonResourceURLs[:1]
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Upstream would have each combination in memory, which a tenant makes too many of.
	many := slices.Repeat([]string{"x"}, 20)
	large, err := roles.Get(t.Context(), "system:basic-user", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	large.Rules = []rbacv1.PolicyRule{{APIGroups: many, Resources: many, Verbs: many, ResourceNames: many}}
	if _, err := roles.Update(t.Context(), large, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A tenant who deletes the binding of their own group is locked out until a restart.
	if err := first.client.RbacV1().ClusterRoleBindings().Delete(t.Context(), pki.GroupTenantAdmins, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	stopInTime(t, first)

	clock := testingclock.NewFakeClock(time.Now())
	second := startPlane(t, Config{Storage: throwAway(dir), PKI: bundle, Clock: clock})
	if _, err := second.client.RbacV1().ClusterRoleBindings().Get(t.Context(), pki.GroupTenantAdmins, metav1.GetOptions{}); err != nil {
		t.Errorf("the binding of the tenant's group: %v", err)
	}
	eventually(t, "rules of system:discovery", func(ctx context.Context) string {
		clock.Step(reconcileAfter)
		role, err := second.client.RbacV1().ClusterRoles().Get(ctx, "system:discovery", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		urls := 0
		for _, rule := range role.Rules {
			urls += len(rule.NonResourceURLs)
		}
		if urls != wanted {
			return fmt.Sprintf("%d paths, want %d", urls, wanted)
		}
		return ""
	})
	large, err = second.client.RbacV1().ClusterRoles().Get(t.Context(), large.Name, metav1.GetOptions{})
	if err != nil || len(large.Rules) != 1 {
		t.Errorf("a role with very many permissions was compared: %v, %v", large.Rules, err)
	}
}

// TestServingCertificateIsRenewed lets most of a year go by.
func TestServingCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	clock := testingclock.NewFakeClock(time.Now())
	p := startPlane(t, Config{Clock: clock})
	ends := func() time.Time {
		conn, err := tls.Dial("tcp", p.address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].NotAfter
	}
	first := ends()
	clock.Step(pki.LeafValidity * 3 / 4)
	eventually(t, "new serving certificate", func(context.Context) string {
		if now := ends(); !now.After(first) {
			return "still ends on " + now.String()
		}
		return ""
	})
}

func stopInTime(t *testing.T, p *plane) {
	t.Helper()
	begin := time.Now()
	if err := p.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begin); took > stopLimit {
		t.Errorf("the stop took %s, want less than %s", took, stopLimit)
	}
}

func TestTwoInOneProcess(t *testing.T) {
	t.Parallel()
	planes := []*plane{startPlane(t, Config{}), startPlane(t, Config{})}
	for i, p := range planes {
		name := []string{"one", "two"}[i]
		_, err := p.client.CoreV1().ConfigMaps("default").Create(t.Context(),
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := planes[1].client.CoreV1().ConfigMaps("default").Get(t.Context(), "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an object of one control plane in the other: got %v, want not found", err)
	}
	// A certificate of one is worth nothing to the other.
	config := planes[0].kubeconfig(t, "admin", pki.GroupAdmins)
	config.Host = "https://" + planes[1].address
	config.CAData = planes[1].bundle.CA()
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a stranger's certificate: got %v, want unauthorized", err)
	}
	stopInTime(t, planes[0])
	if _, err := planes[1].client.CoreV1().ConfigMaps("default").Get(t.Context(), "two", metav1.GetOptions{}); err != nil {
		t.Errorf("after the first has stopped, the second: %v", err)
	}
}

func TestTwoFamilies(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{ServiceCIDR: "10.96.0.0/16,fd00:96::/112", DNSServiceIP: mustIP("10.96.0.10")})
	both := corev1.IPFamilyPolicyRequireDualStack
	got, err := p.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "both"},
		Spec:       corev1.ServiceSpec{IPFamilyPolicy: &both, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Spec.ClusterIPs) != 2 {
		t.Errorf("addresses: got %v, want one of each family", got.Spec.ClusterIPs)
	}
}

func TestStopDoesNotWaitForWatches(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	outside := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "admin", pki.GroupAdmins))
	for _, client := range []kubernetes.Interface{p.client, outside} {
		watch, err := client.CoreV1().ConfigMaps("").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Stop()
	}
	stopInTime(t, p)
	if _, err := p.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("a stopped API server answers")
	}
}

func TestRunReportsWhatFailed(t *testing.T) { //nolint:tparallel // its cases share a folder
	t.Parallel()
	quiet()
	dir := t.TempDir()
	holder := throwAway(dir)
	if _, err := holder.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer holder.Stop()

	cases := map[string]struct {
		reason string
		config Config
		want   string
	}{
		"LockedStorage": {
			reason: "two processes must not write to one data directory",
			config: Config{Storage: throwAway(dir)},
			want:   dir,
		},
		"FileInTheWay": {
			reason: "the message names the directory that cannot be made",
			config: Config{Storage: throwAway(filepath.Join(dir, "lock", "below"))},
			want:   "below",
		},
	}
	for name, tc := range cases { //nolint:paralleltest // as above
		t.Run(name, func(t *testing.T) {
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			tc.config.Listener, tc.config.PKI = listener, newBundle(t)
			c, err := New(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err = c.Run(ctx)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v, want an error with %q", tc.reason, err, tc.want)
			}
		})
	}
}

func TestStorageThatFailsEndsTheRun(t *testing.T) {
	t.Parallel()
	quiet()
	backend := &brittle{Backend: throwAway(t.TempDir()), failed: make(chan struct{})}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Storage: backend, PKI: newBundle(t), Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(t.Context()) }()
	<-c.Ready()
	close(backend.failed)
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "storage") {
			t.Errorf("got %v, want an error that names the storage", err)
		}
	case <-time.After(patience):
		t.Error("Run goes on without a storage")
	}
}

// brittle is a backend that fails on command.
type brittle struct {
	storage.Backend
	failed chan struct{}
}

func (b *brittle) Failed() <-chan struct{} { return b.failed }

func TestNewReportsAllThatIsMissing(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		config Config
		want   []string
	}{
		"Empty": {
			reason: "every missing part is named at once",
			want:   []string{"storage", "certificates", "listener"},
		},
		"AddressOutsideTheRange": {
			reason: "an address that the API server cannot give is refused before the start",
			config: Config{
				ServiceCIDR: "10.96.0.0/16", KubernetesServiceIP: mustIP("10.97.0.1"), DNSServiceIP: mustIP("192.0.2.1"),
			},
			want: []string{"10.97.0.1", "kubernetes", "192.0.2.1", "kube-dns", "10.96.0.0/16"},
		},
		"NotARange": {
			reason: "the value is shown",
			config: Config{ServiceCIDR: "10.96.0.0"},
			want:   []string{`"10.96.0.0" is not a CIDR`},
		},
		"SecondNotARange": {
			reason: "the value is shown",
			config: Config{ServiceCIDR: "10.96.0.0/16,fd00"},
			want:   []string{`"fd00" is not a CIDR`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(tc.config)
			if err == nil {
				t.Fatalf("%s: got no error", tc.reason)
			}
			for _, want := range tc.want {
				requireContains(t, tc.reason, err.Error(), want)
			}
		})
	}
}
