package hostlab

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// credentials are the files of the host's certificates and kubeconfigs.
type credentials struct {
	dir string
	now time.Time
}

func (c credentials) file(name string) string       { return filepath.Join(c.dir, name) }
func (c credentials) kubeconfig(name string) string { return c.file(name + ".kubeconfig") }

// user is a user of the API server that gets a kubeconfig.
type user struct {
	file   string // name of its kubeconfig
	name   string
	groups []string
}

// users returns all users. The admin is last: its kubeconfig exists only if all other
// files do.
func users() []user {
	return []user{
		{file: "kcm", name: "system:kube-controller-manager"},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"}},
		{file: "kube-proxy", name: "system:kube-proxy"},
		{file: "coredns", name: "system:coredns"},
		{file: "volumes", name: "system:volumes"},
		{file: "metrics-server", name: "system:metrics-server"},
		{file: "admin", name: "admin", groups: []string{pki.GroupAdmins}},
	}
}

// create writes all files, unless they exist.
func (c credentials) create() error {
	if _, err := os.Stat(c.kubeconfig("admin")); err == nil {
		return c.createMissingUsers()
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	cluster, err := pki.New(c.now)
	if err != nil {
		return err
	}
	// etcd has an authority of its own, so that no user of the API server is one of etcd.
	store, err := pki.New(c.now)
	if err != nil {
		return err
	}
	if err := c.writeAuthorities(cluster, store); err != nil {
		return err
	}
	if err := c.writePairs(cluster, store); err != nil {
		return err
	}
	return c.writeUsers(cluster, users())
}

// writeUsers writes the kubeconfigs of users.
func (c credentials) writeUsers(cluster *pki.Bundle, users []user) error {
	for _, u := range users {
		content, err := cluster.KubeconfigAt(c.now, apiServer, cgroupName, u.name, u.groups...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.kubeconfig(u.file), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// createMissingUsers writes the kubeconfigs that an earlier version of this package did
// not know.
func (c credentials) createMissingUsers() error {
	var missing []user
	for _, u := range users() {
		if _, err := os.Stat(c.kubeconfig(u.file)); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, u)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(c.file(entry.Name())); err != nil {
			return err
		}
	}
	cluster, err := pki.FromSecret(files)
	if err != nil {
		return err
	}
	return c.writeUsers(cluster, missing)
}

// writeAuthorities writes the certificates of the authorities, and the keys of the
// cluster's bundle.
func (c credentials) writeAuthorities(cluster, store *pki.Bundle) error {
	for name, content := range cluster.Secret() {
		if err := os.WriteFile(c.file(name), content, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.file("etcd-ca.crt"), store.CA(), 0o600); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(cluster.ServiceAccountKey().Public())
	if err != nil {
		return err
	}
	return os.WriteFile(c.file("sa.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
}

// writePairs writes NAME.crt and NAME.key of each server and of each client without a
// kubeconfig.
func (c credentials) writePairs(cluster, store *pki.Bundle) error {
	loopback := servingNames("localhost", "127.0.0.1")
	for _, pair := range []struct {
		name  string
		issue func() (pki.Pair, error)
	}{
		{"etcd", func() (pki.Pair, error) { return store.Serving(c.now, loopback) }},
		{"apiserver-etcd", func() (pki.Pair, error) { return store.Client(c.now, "apiserver-etcd") }},
		{"apiserver", func() (pki.Pair, error) { return cluster.Serving(c.now, apiServerNames()) }},
		{"apiserver-kubelet", func() (pki.Pair, error) { return cluster.Client(c.now, "apiserver-kubelet") }},
		{"kubelet-serving", func() (pki.Pair, error) { return cluster.Serving(c.now, servingNames(nodeName, nodeIP)) }},
		{"loopback", func() (pki.Pair, error) { return cluster.Serving(c.now, loopback) }},
		{"front-proxy-client", func() (pki.Pair, error) { return cluster.FrontProxyClient(c.now) }},
	} {
		issued, err := pair.issue()
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.file(pair.name+".crt"), issued.Cert, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(c.file(pair.name+".key"), issued.Key, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// apiServerNames returns the names and addresses of the API server.
func apiServerNames() pki.Names {
	return servingNames("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc."+clusterDomain, nodeName, "127.0.0.1", nodeIP, apiServiceIP)
}

// servingNames sorts names into DNS names and IP addresses.
func servingNames(names ...string) pki.Names {
	var sorted pki.Names
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			sorted.IPs = append(sorted.IPs, ip)
		} else {
			sorted.DNS = append(sorted.DNS, name)
		}
	}
	return sorted
}
