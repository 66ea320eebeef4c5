package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Names of files and folders in the data directory.
const (
	// factsFile keeps the facts for a start without the host.
	factsFile = "host.json"
	// StoreDir is the folder of the store.
	StoreDir = "etcd"
)

// Facts are what the server must know of its host before the control plane can
// start. They hardly ever change. A copy on the volume of the store lets a restart
// succeed while the host API server does not respond.
type Facts struct {
	// Anchor is the owner of all that the server creates on the host. Its UID
	// is the identity of the virtual cluster.
	Anchor metav1.OwnerReference `json:"anchor"`
	// ServiceIP and DNSServiceIP are the addresses of the two host Services.
	ServiceIP    string `json:"serviceIP"`
	DNSServiceIP string `json:"dnsServiceIP"`
	// ServiceCIDR is the range of Service addresses.
	ServiceCIDR string `json:"serviceCIDR"`
	// NodePortRange is the range of node ports, empty if it is unknown.
	NodePortRange string `json:"nodePortRange,omitempty"`
	// Certs are the data of the Secret with the authority and the keys.
	Certs map[string][]byte `json:"certs"`
	// Replicas is the number of replicas that the StatefulSet is to have, 0 if unknown.
	Replicas int `json:"-"`
	// Shared is true if several replicas use the store, or have before.
	Shared bool `json:"shared,omitempty"`
	// Holder is the last record of this replica.
	Holder Record `json:"holder"`
	// Members is the record of the members of the store.
	Members Members `json:"members,omitzero"`
	// Store is the UID of the store on the same volume, empty if it has never
	// been open.
	Store string `json:"store,omitempty"`
	// StoreLocation is where the store was that served last, empty if none did.
	StoreLocation string `json:"storeLocation,omitempty"`
	// StoreRevision is a revision that the store had reached, 0 if that is unknown.
	StoreRevision int64 `json:"-"`
}

// EmbeddedLocation is the location of an etcd in the process. Earlier releases had no
// other store and did not record it.
const EmbeddedLocation = "etcd.embedded"

// locationOf returns where the store was that served last.
func locationOf(anchor *corev1.ConfigMap) string {
	location := anchor.Annotations[labels.StoreLocation]
	if location == "" && anchor.Annotations[labels.Store] != "" {
		return EmbeddedLocation
	}
	return location
}

// RevisionOf returns the revision that the store had reached by its record on the anchor, 0
// if there is none.
func RevisionOf(anchor *corev1.ConfigMap) int64 {
	revision, err := strconv.ParseInt(anchor.Annotations[labels.StoreRevision], 10, 64)
	if err != nil {
		return 0
	}
	return revision
}

// LoadFacts returns the copy of the facts in the data directory. ok is false if there is
// none that can be used.
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

// save writes the copy. It holds keys: only the process itself may read it.
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

// factError is an answer of the host that the server cannot work with.
type factError struct{ msg string }

func (e *factError) Error() string { return e.msg }

// isUnreachable reports whether err means that the host cannot be reached or is
// not ready, rather than that it has refused.
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

// widestCIDR returns the widest range that an API server takes around ip. The host
// assigns the addresses of virtual Services. So the range of the virtual cluster
// only has to contain the host's range.
func widestCIDR(ip string) string {
	address := net.ParseIP(ip)
	bits := net.CIDRMask(12, 32)
	if address.To4() == nil {
		bits = net.CIDRMask(108, 128)
	}
	return (&net.IPNet{IP: address.Mask(bits), Mask: bits}).String()
}
