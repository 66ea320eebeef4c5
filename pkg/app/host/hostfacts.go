package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Names of files and directories in the data directory.
const (
	// factsFile contains the copy of the facts for a start without the host.
	factsFile = "host.json"
	// StoreDir is the directory of the store.
	StoreDir = "etcd"
)

// Facts are what the server must know about its host before the control plane can start. They
// rarely change. A copy on the volume of the store allows a restart while the host API server
// does not respond.
type Facts struct {
	// Anchor is the owner of all objects that the server creates on the host. Its UID is the
	// identity of the virtual cluster.
	Anchor metav1.OwnerReference `json:"anchor"`
	// ServiceIP and DNSServiceIP are the cluster IPs of the host Services of the API and DNS.
	ServiceIP    string `json:"serviceIP"`
	DNSServiceIP string `json:"dnsServiceIP"`
	// ServiceCIDR has the Service CIDRs, with commas between them.
	ServiceCIDR string `json:"serviceCIDR"`
	// NodePortRange is the node port range, empty if it is unknown.
	NodePortRange string `json:"nodePortRange,omitempty"`
	// Certs is the data of the certs Secret: the certificate authority and the keys.
	Certs map[string][]byte `json:"certs"`
	// Replicas is spec.replicas of the StatefulSet, 0 if it is unknown.
	Replicas int `json:"-"`
	// Shared is true if several replicas use the store, or have used it before.
	Shared bool `json:"shared,omitempty"`
	// Holder is the last record of this replica.
	Holder Record `json:"holder"`
	// Members is the record of the members of the store.
	Members Members `json:"members,omitzero"`
	// Store is the UID of the store on the same volume, empty if it was never open.
	Store string `json:"store,omitempty"`
	// StoreLocation is the location of the store that was served last, empty if there was none.
	StoreLocation string `json:"storeLocation,omitempty"`
	// StoreRevision is the last recorded revision of the store, 0 if it is unknown.
	StoreRevision int64 `json:"-"`
}

// EmbeddedLocation is the location of an embedded etcd. Earlier releases supported no other
// store and did not record it.
const EmbeddedLocation = "etcd.embedded"

// locationOf returns the location of the store that was served last.
func locationOf(anchor *corev1.ConfigMap) string {
	location := anchor.Annotations[labels.StoreLocation]
	if location == "" && anchor.Annotations[labels.Store] != "" {
		return EmbeddedLocation
	}
	return location
}

// RevisionOf returns the revision of the store that is recorded on the anchor, 0 if there is
// none.
func RevisionOf(anchor *corev1.ConfigMap) int64 {
	revision, err := strconv.ParseInt(anchor.Annotations[labels.StoreRevision], 10, 64)
	if err != nil {
		return 0
	}
	return revision
}

// LoadFacts returns the copy of the facts in the data directory. ok is false if there is no
// usable one.
func LoadFacts(dataDir string) (facts *Facts, ok bool) {
	data, err := os.ReadFile(filepath.Join(dataDir, factsFile))
	if err != nil {
		return nil, false
	}
	facts = &Facts{}
	if err := json.Unmarshal(data, facts); err != nil || facts.Anchor.UID == "" {
		return nil, false
	}
	return facts, true
}

// hasCerts reports whether the facts have a copy of the keys. nil has none.
func (f *Facts) hasCerts() bool { return f != nil && len(f.Certs) > 0 }

// save writes the copy of the facts. Only this user may read it, because it contains keys.
func (f *Facts) save(dataDir string) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("cannot encode the facts of the host: %w", err)
	}
	file := filepath.Join(dataDir, factsFile)
	if old, err := os.ReadFile(file); err == nil && slices.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return fmt.Errorf("cannot create the data directory: %w", err)
	}
	temp := file + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return fmt.Errorf("cannot write the facts of the host: %w", err)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("cannot write the facts of the host: %w", err)
	}
	return nil
}

// RecordShared records that several replicas use the store.
func (f *Facts) RecordShared(dataDir string) error {
	f.Shared = true
	return f.save(dataDir)
}

// RecordStore writes the UID of the store to the copy of the facts.
func (f *Facts) RecordStore(dataDir, uid string) error {
	f.Store = uid
	return f.save(dataDir)
}

// hasStore reports whether the data directory has a store.
func hasStore(dataDir string) bool {
	entries, err := os.ReadDir(filepath.Join(dataDir, StoreDir))
	return err == nil && len(entries) > 0
}

// factError is returned for a response of the host that the server cannot work with.
type factError struct{ msg string }

func (e *factError) Error() string { return e.msg }

// isUnreachable reports whether err means that the host is unreachable or overloaded, rather
// than that it has rejected a request.
func isUnreachable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var refusal *factError
		var standby *StandbyError
		return !errors.As(err, &refusal) && !errors.As(err, &standby)
	}
	code := status.Status().Code
	return code >= 500 || code == 429
}

// isLostConnection reports whether the host, or a balancer in front of it, has closed the connection of a request.
func isLostConnection(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// widestCIDR returns the largest Service CIDR around ip that an API server accepts. It only has
// to contain the host's range, because the host assigns the cluster IPs of virtual Services.
func widestCIDR(ip string) string {
	address := net.ParseIP(ip)
	bits := net.CIDRMask(12, 32)
	if address.To4() == nil {
		bits = net.CIDRMask(108, 128)
	}
	return (&net.IPNet{IP: address.Mask(bits), Mask: bits}).String()
}
