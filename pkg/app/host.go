package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"golang.org/x/sync/errgroup"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// certsType is the type of the Secret with the certificate authority and keys.
const certsType corev1.SecretType = "sublet.dev/certs"

// roleDelay is how long a host may take until a new RoleBinding counts.
const roleDelay = 10 * time.Second

// hostFacts is what the server must know of its host before the control plane
// can start. It hardly ever changes, so a copy in the data directory lets a
// restart succeed while the host API does not answer.
type hostFacts struct {
	Anchor       metav1.OwnerReference `json:"anchor"`
	ServiceIP    string                `json:"serviceIP"`
	DNSServiceIP string                `json:"dnsServiceIP"`
	ServiceCIDR  string                `json:"serviceCIDR"`
	Certs        map[string][]byte     `json:"certs"`
}

// hostNames are the host objects of a release, by the name that helm gave it.
type hostNames struct{ release, namespace string }

func (n hostNames) anchor() string     { return n.release + "-anchor" }
func (n hostNames) certs() string      { return n.release + "-certs" }
func (n hostNames) kubeconfig() string { return n.release + "-kubeconfig" }
func (n hostNames) service() string    { return n.release }
func (n hostNames) dns() string        { return n.release + "-dns" }
func (n hostNames) workload() string   { return n.release + "-workload" }

// cluster is the identity of the virtual cluster.
func (f *hostFacts) cluster(n hostNames) translate.Cluster {
	return translate.Cluster{UID: string(f.Anchor.UID), Name: n.release, Namespace: n.namespace, Anchor: f.Anchor}
}

// hostLearner finds out the facts.
type hostLearner struct {
	client      kubernetes.Interface
	names       hostNames
	cacheFile   string
	serviceCIDR string                                         // from the config; empty asks the host
	newCerts    func(now time.Time) (map[string][]byte, error) // makes the content of the certs Secret
	now         func() time.Time
}

// learn asks the host until it answers. If it does not answer and an earlier run
// left its facts, those are used: the virtual API must come up without a host.
func (l *hostLearner) learn(ctx context.Context) (*hostFacts, error) {
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 10, Cap: 15 * time.Second}
	said := false
	begin := l.now()
	for {
		facts, err := l.ask(ctx)
		if err == nil {
			return facts, l.remember(facts)
		}
		// A Role that was bound a moment ago may not count yet.
		early := apierrors.IsForbidden(err) && l.now().Sub(begin) < roleDelay
		if ctx.Err() != nil || !early && !hostSilent(err) {
			return nil, err
		}
		if facts, ok := l.recall(); ok {
			klog.InfoS("The host API does not answer; starting with what it said last. Syncing waits for it.", "reason", err.Error())
			return facts, nil
		}
		if !said {
			klog.InfoS("The host API does not answer, and nothing is known of it from an earlier run. Waiting.", "reason", err.Error())
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(backoff.Step()):
		}
	}
}

// hostSilent says whether err means that the host cannot be reached or is not
// ready, rather than that it has refused.
func hostSilent(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var refusal *factError
		return !errors.As(err, &refusal)
	}
	code := status.Status().Code
	return code >= 500 || code == 429
}

// factError is an answer of the host that cannot be worked with.
type factError struct{ msg string }

func (e *factError) Error() string { return e.msg }

// ask reads all facts at once, and creates the certs Secret at the first start.
func (l *hostLearner) ask(ctx context.Context) (*hostFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var facts hostFacts
	var certs *corev1.Secret
	group, ctx2 := errgroup.WithContext(ctx)
	group.Go(func() (err error) { facts.Anchor, err = l.anchor(ctx2); return })
	group.Go(func() (err error) { facts.ServiceIP, err = l.clusterIP(ctx2, l.names.service()); return })
	group.Go(func() (err error) { facts.DNSServiceIP, err = l.clusterIP(ctx2, l.names.dns()); return })
	group.Go(func() (err error) { facts.ServiceCIDR, err = l.hostCIDR(ctx2); return })
	group.Go(func() error {
		secret, err := l.client.CoreV1().Secrets(l.names.namespace).Get(ctx2, l.names.certs(), metav1.GetOptions{})
		if err == nil {
			certs = secret
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return wrap(err, "read host Secret %s", l.names.certs())
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if facts.ServiceCIDR == "" {
		facts.ServiceCIDR = widest(facts.ServiceIP)
	}
	if certs == nil {
		var err error
		if certs, err = l.createCerts(ctx, facts.Anchor); err != nil {
			return nil, err
		}
	}
	facts.Certs = certs.Data
	return &facts, nil
}

func (l *hostLearner) anchor(ctx context.Context) (metav1.OwnerReference, error) {
	anchor, err := l.client.CoreV1().ConfigMaps(l.names.namespace).Get(ctx, l.names.anchor(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return metav1.OwnerReference{}, &factError{fmt.Sprintf("host ConfigMap %s/%s does not exist: it is part of the Helm release, "+
			"which owns all that is synced; run helm upgrade to bring it back", l.names.namespace, l.names.anchor())}
	}
	if err != nil {
		return metav1.OwnerReference{}, wrap(err, "read host ConfigMap %s", l.names.anchor())
	}
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: anchor.Name, UID: anchor.UID}, nil
}

func (l *hostLearner) clusterIP(ctx context.Context, name string) (string, error) {
	service, err := l.client.CoreV1().Services(l.names.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", wrap(err, "read host Service %s", name)
	}
	if net.ParseIP(service.Spec.ClusterIP) == nil {
		return "", &factError{fmt.Sprintf("host Service %s/%s has no ClusterIP (%q): pods of the virtual cluster could not reach it",
			l.names.namespace, name, service.Spec.ClusterIP)}
	}
	return service.Spec.ClusterIP, nil
}

// hostCIDR is the service IP range of the host, from its ServiceCIDR objects, or
// empty where the host has none or we may not read them.
func (l *hostLearner) hostCIDR(ctx context.Context) (string, error) {
	if l.serviceCIDR != "" {
		return l.serviceCIDR, nil
	}
	cidr, err := l.client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", wrap(err, "read host ServiceCIDR kubernetes")
	}
	if len(cidr.Spec.CIDRs) == 0 {
		return "", nil
	}
	return cidr.Spec.CIDRs[0], nil
}

// widest is the widest range that an API server takes around ip. Every address
// of a virtual Service is one that the host has given out, so the range of the
// virtual cluster only has to contain the host's, not to equal it.
func widest(ip string) string {
	address := net.ParseIP(ip)
	bits := net.CIDRMask(12, 32)
	if address.To4() == nil {
		bits = net.CIDRMask(108, 128)
	}
	return (&net.IPNet{IP: address.Mask(bits), Mask: bits}).String()
}

// createCerts makes the certificate authority. Who comes second takes the
// other's: there is only ever one.
func (l *hostLearner) createCerts(ctx context.Context, owner metav1.OwnerReference) (*corev1.Secret, error) {
	data, err := l.newCerts(l.now())
	if err != nil {
		return nil, &factError{fmt.Sprintf("cannot make the certificate authority: %v", err)}
	}
	secrets := l.client.CoreV1().Secrets(l.names.namespace)
	made, err := secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            l.names.certs(),
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		Type: certsType,
		Data: data,
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = secrets.Get(ctx, l.names.certs(), metav1.GetOptions{})
	}
	return made, wrap(err, "create host Secret %s", l.names.certs())
}

// remember keeps the facts for a start without the host. They hold keys: only
// the process itself may read them.
func (l *hostLearner) remember(facts *hostFacts) error {
	data, err := json.Marshal(facts)
	if err != nil {
		return fmt.Errorf("cannot encode what the host said: %w", err)
	}
	if old, err := os.ReadFile(l.cacheFile); err == nil && slices.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.cacheFile), 0o700); err != nil {
		return fmt.Errorf("cannot make the data directory: %w", err)
	}
	temp := l.cacheFile + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return fmt.Errorf("cannot keep what the host said: %w", err)
	}
	return os.Rename(temp, l.cacheFile)
}

func (l *hostLearner) recall() (*hostFacts, bool) {
	data, err := os.ReadFile(l.cacheFile)
	if err != nil {
		return nil, false
	}
	facts := &hostFacts{}
	if err := json.Unmarshal(data, facts); err != nil || facts.Anchor.UID == "" {
		return nil, false
	}
	return facts, true
}

// wrap says what failed; it keeps nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot "+format+": %w", append(args, err)...)
}
