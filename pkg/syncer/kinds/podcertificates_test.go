package kinds

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// certifier has keys that are known, and puts requests on a shelf.
type certifier struct {
	virtual *shelf
	made    int
}

func (c *certifier) NewKey(string) (name string, key []byte, err error) {
	c.made++
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(c.made)}, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	return fmt.Sprintf("req-%d", c.made), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func (c *certifier) Request(_ context.Context, request *certificatesv1.PodCertificateRequest) error {
	if c.virtual.ofKey(request, client.ObjectKeyFromObject(request)) == nil {
		c.virtual.putObject(request)
	}
	return nil
}

// certified is one pod with a certificate, and its Secret.
type certified struct {
	t       *testing.T
	now     time.Time
	virtual *shelf
	keys    *certifier
	pod     *corev1.Pod
	secret  *corev1.Secret
}

func newCertified(t *testing.T) *certified {
	t.Helper()
	c := &certified{t: t, now: testNow(), virtual: newShelf(syncer.Virtual, nil), secret: &corev1.Secret{}}
	c.keys = &certifier{virtual: c.virtual}
	c.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-of-web"},
		Spec: corev1.PodSpec{NodeName: "node-1", Volumes: []corev1.Volume{{Name: "id", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{
				SignerName: "example.com/id", KeyType: "ED25519", CredentialBundlePath: "id.pem", UserAnnotations: map[string]string{"example.com/a": "b"},
			}}}},
		}}}},
	}
	return c
}

// step reconciles the Secret once.
func (c *certified) step() {
	c.t.Helper()
	scope := syncer.Scope{Context: c.t.Context(), Cluster: testCluster(), Now: c.now, Virtual: c.virtual}
	if err := PodCertificates(Options{PodCertificates: c.keys}).Down(scope, c.pod, c.secret); err != nil {
		c.t.Fatal(err)
	}
}

// held returns what the Secret has.
func (c *certified) held() certificate {
	return readCertificate(c.secret.Data, translate.CertificateRequests(c.pod)[0].Key)
}

// request returns the request that the Secret waits for.
func (c *certified) request() *certificatesv1.PodCertificateRequest {
	c.t.Helper()
	wanted := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: c.held().request}}
	found, ok := c.virtual.ofKey(wanted, client.ObjectKeyFromObject(wanted)).(*certificatesv1.PodCertificateRequest)
	if !ok {
		c.t.Fatalf("there is no request %q", wanted.Name)
	}
	return found
}

// end sets the condition of the request.
func (c *certified) end(condition, chain string) {
	c.t.Helper()
	request := c.request()
	request.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{{Type: condition, Reason: "Because", Message: "of a rule"}},
		CertificateChain: chain, BeginRefreshAt: &metav1.Time{Time: c.now.Add(time.Hour)}, NotAfter: &metav1.Time{Time: c.now.Add(2 * time.Hour)},
	}
	c.virtual.putObject(request)
}

func TestPodIsCertified(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	c.step()
	if held := c.held(); held.request != "req-1" || len(held.nextKey) == 0 || len(c.virtual.objects) > 0 {
		t.Fatalf("the key must be in the Secret before it is in a request: %v, %d requests", c.secret.Data, len(c.virtual.objects))
	}
	c.step()
	request := c.request()
	if request.Spec.PodUID != c.pod.UID || request.Spec.NodeName != "node-1" || request.Spec.ServiceAccountName != "default" ||
		request.Spec.UnverifiedUserAnnotations["example.com/a"] != "b" || request.OwnerReferences[0].UID != c.pod.UID {
		t.Errorf("the request is %v", request)
	}
	c.step()
	if c.keys.made != 1 {
		t.Errorf("%d keys while the request waits", c.keys.made)
	}
	chain := "comment\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("leaf")}))
	key := string(c.held().nextKey)
	c.end(certificatesv1.PodCertificateRequestConditionTypeIssued, chain)
	c.step()
	bundle := string(c.secret.Data[translate.CertificateRequests(c.pod)[0].Key+translate.BundleSuffix])
	if want := key + strings.TrimPrefix(chain, "comment\n"); bundle != want {
		t.Errorf("the file is %q, want %q", bundle, want)
	}
	if held := c.held(); held.request != "" || len(held.nextKey) > 0 {
		t.Errorf("the Secret still waits: %v", c.secret.Data)
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	c.step()
	c.step()
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("leaf")}))
	c.end(certificatesv1.PodCertificateRequestConditionTypeIssued, chain)
	c.step()
	issued := c.now
	c.now = issued.Add(time.Hour - time.Second)
	c.step()
	if c.keys.made != 1 {
		t.Fatal("it is renewed before its time")
	}
	c.now = issued.Add(time.Hour + maxRefreshJitter)
	c.step()
	c.step()
	if held := c.held(); c.keys.made != 2 || string(held.chain) != chain || held.request != "req-2" {
		t.Fatalf("want a second request and the first certificate, got %v", c.secret.Data)
	}
	c.end(certificatesv1.PodCertificateRequestConditionTypeDenied, "")
	c.step()
	c.step()
	held := c.held()
	if held.outcome != "Denied\nBecause: of a rule" || string(held.chain) != chain || held.request != "" || c.keys.made != 2 {
		t.Errorf("a denied pod keeps its files and asks for nothing more, got %v", c.secret.Data)
	}
}

// TestForeignRequestIsLeft checks that nobody can give a pod the certificate of another key, and that a policy
// that alters each request causes no further ones.
func TestForeignRequestIsLeft(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	c.step()
	foreign := &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "req-1"},
		Spec:       certificatesv1.PodCertificateRequestSpec{PodName: "web", PodUID: c.pod.UID},
	}
	c.virtual.putObject(foreign)
	c.end(certificatesv1.PodCertificateRequestConditionTypeIssued, "x")
	c.step()
	if held := c.held(); held.request != "" || len(held.chain) > 0 {
		t.Fatalf("the Secret follows somebody else's request: %v", c.secret.Data)
	}
	for range 10 {
		c.step()
	}
	if c.keys.made != 1 || c.held().outcome == "" {
		t.Errorf("%d keys were made for altered requests, the Secret has %v", c.keys.made, c.secret.Data)
	}
}

func TestCertificateEvents(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	key := translate.CertificateRequests(c.pod)[0].Key
	refresh, end := c.now.Add(-time.Hour), c.now.Add(time.Hour)
	for name, test := range map[string]struct {
		reason string
		held   certificate
		want   string
	}{
		"Fresh":   {"nothing is wrong", certificate{chain: []byte("x"), refresh: end, end: end}, ""},
		"Waiting": {"the first certificate may take its time", certificate{request: "req-1"}, ""},
		"Late":    {"the signer does not answer", certificate{chain: []byte("x"), refresh: refresh, end: end}, "CertificateOverdueForRefresh"},
		"Expired": {"nobody accepts it", certificate{chain: []byte("x"), refresh: refresh, end: refresh}, "CertificateExpired"},
		"Denied":  {"the signer has decided", certificate{outcome: "Denied\nBecause: no"}, "Denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := map[string][]byte{}
			test.held.write(data, key)
			held := readCertificate(data, key)
			if reason, _ := held.problem(c.now, "example.com/id"); reason != test.want {
				t.Errorf("%s: Event %q, want %q", test.reason, reason, test.want)
			}
		})
	}
}
