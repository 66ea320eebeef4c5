package kinds

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Suffixes of keys of a Secret with the state of a certificate. They are not mounted into pods.
const (
	nextKeySuffix = ".next-key" // the private key of the request
	requestSuffix = ".request"  // the name of the request
	refreshSuffix = ".refresh"  // when the certificate is renewed
	endSuffix     = ".end"      // when it expires
	outcomeSuffix = ".outcome"  // Denied or Failed, and the reason on the next line
)

// maxRefreshJitter is the maximum jitter of renewals. A kubelet uses the same value.
const maxRefreshJitter = 5 * time.Minute

// certificate is the state of one certificate in the Secret of a pod.
type certificate struct {
	key, chain   []byte
	refresh, end time.Time
	nextKey      []byte
	request      string
	outcome      string
}

// readCertificate reads a certificate from the data of a Secret.
func readCertificate(data map[string][]byte, key string) certificate {
	at := func(suffix string) time.Time {
		parsed, _ := time.Parse(time.RFC3339, string(data[key+suffix])) // The zero time is due.
		return parsed
	}
	return certificate{
		key: data[key+translate.PrivateKeySuffix], chain: data[key+translate.ChainSuffix],
		refresh: at(refreshSuffix), end: at(endSuffix),
		nextKey: data[key+nextKeySuffix], request: string(data[key+requestSuffix]), outcome: string(data[key+outcomeSuffix]),
	}
}

// write writes a certificate into the data of a Secret.
func (c *certificate) write(data map[string][]byte, key string) {
	set := func(suffix string, value []byte) {
		if len(value) > 0 {
			data[key+suffix] = value
		}
	}
	if len(c.chain) > 0 {
		set(translate.PrivateKeySuffix, c.key)
		set(translate.ChainSuffix, c.chain)
		set(translate.BundleSuffix, append(bytes.Clone(c.key), c.chain...))
		set(refreshSuffix, []byte(c.refresh.UTC().Format(time.RFC3339)))
		set(endSuffix, []byte(c.end.UTC().Format(time.RFC3339)))
	}
	set(nextKeySuffix, c.nextKey)
	set(requestSuffix, []byte(c.request))
	set(outcomeSuffix, []byte(c.outcome))
}

// isFresh reports whether a certificate need not be renewed yet. It requests a reconcile for the renewal
// and, if that is late, for the Event about it.
func (c *certificate) isFresh(s syncer.Scope, virtual *corev1.Pod) bool {
	if len(c.chain) == 0 {
		return false
	}
	renewal := c.refresh.Add(refreshJitter(virtual))
	for _, due := range []time.Time{renewal, c.refresh.Add(overdue), c.end} {
		if wait := due.Sub(s.Now); wait > 0 {
			s.RequeueAfter(wait)
		}
	}
	return s.Now.Before(renewal)
}

// problem returns the reason and the message of an Event about a certificate, empty if nothing
// is wrong.
func (c *certificate) problem(now time.Time, signer string) (reason, message string) {
	switch outcome, text, _ := strings.Cut(c.outcome, "\n"); {
	case outcome != "":
		return outcome, fmt.Sprintf("The PodCertificateRequest for signer %s ended: %s. The pod is not certified again.", signer, text)
	case len(c.chain) == 0:
		return "", ""
	case !now.Before(c.end):
		return "CertificateExpired", fmt.Sprintf("The certificate of signer %s has expired.", signer)
	case !now.Before(c.refresh.Add(overdue)):
		return "CertificateOverdueForRefresh", fmt.Sprintf("The renewal of the certificate of signer %s is late.", signer)
	}
	return "", ""
}

// refreshJitter returns the delay of the renewals of a pod, which depends on its UID.
func refreshJitter(virtual *corev1.Pod) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(virtual.UID))
	return time.Duration(sum.Sum32()%uint32(maxRefreshJitter/time.Second)) * time.Second
}

// apply updates a certificate from a condition of its request.
func (c *certificate) apply(request *certificatesv1.PodCertificateRequest, condition *metav1.Condition) {
	status := &request.Status
	switch condition.Type {
	case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed:
		c.outcome = condition.Type + "\n" + condition.Reason + ": " + condition.Message
	case certificatesv1.PodCertificateRequestConditionTypeIssued:
		if status.BeginRefreshAt == nil || status.NotAfter == nil {
			return // API servers reject such a status.
		}
		c.key, c.chain = c.nextKey, cleanChain([]byte(status.CertificateChain))
		c.refresh, c.end = status.BeginRefreshAt.Time, status.NotAfter.Time
	default:
		return
	}
	c.nextKey, c.request = nil, ""
}

// cleanChain returns the certificates of a chain without comments and headers.
func cleanChain(chain []byte) []byte {
	var clean []byte
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		clean = append(clean, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
	}
	return clean
}

// stubRequest returns an empty PKCS#10 request, which proves the possession of a key.
func stubRequest(key []byte) ([]byte, error) {
	signer, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	stub, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer)
	if err != nil {
		return nil, fmt.Errorf("cannot sign a certificate request: %w", err)
	}
	return stub, nil
}

// hasKeyOf reports whether a request is for a private key.
func hasKeyOf(request *certificatesv1.PodCertificateRequest, key []byte) bool {
	signer, err := parseKey(key)
	if err != nil {
		return false
	}
	stub, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
	if err != nil {
		return false
	}
	public, ok := signer.Public().(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && public.Equal(stub.PublicKey)
}

// parseKey returns a private key in PEM.
func parseKey(key []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("cannot read a private key: it is not in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read a private key: %w", err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("cannot sign with a %T", parsed)
	}
	return signer, nil
}
