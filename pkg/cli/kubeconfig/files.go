// Package kubeconfig reads and changes the kubeconfig files of a user, by the rules of
// kubectl. It reads with kubectl's own library. It writes each entry to the file that
// kubectl would write it to, and keeps comments, order and fields that it does not know.
package kubeconfig

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// lockPatience bounds the wait for other writers of the same files.
const lockPatience = 2 * time.Minute

// Files are the kubeconfig files of one user.
type Files struct {
	options *clientcmd.PathOptions
}

// New returns the files that kubectl would use: the explicit one if it is not empty, those of
// KUBECONFIG, or $HOME/.kube/config.
func New(explicit string) *Files {
	options := clientcmd.NewDefaultPathOptions()
	options.LoadingRules.ExplicitPath = explicit
	options.LoadingRules.WarnIfAllMissing = false
	return &Files{options: options}
}

// Load returns the merged content of the files. A path in them is as it was written. Missing
// files are skipped. It removes locks that our own dead processes left behind, since kubectl would
// refuse to write.
func (f *Files) Load() (*clientcmdapi.Config, error) {
	for _, path := range f.options.GetLoadingPrecedence() {
		removeDeadLock(path)
	}
	config, err := f.options.GetStartingConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot read kubeconfig: %w", err)
	}
	return config, nil
}

// Change is a set of entries to write. A nil value deletes the entry of that name.
type Change struct {
	// Clusters has the clusters: name -> cluster.
	Clusters map[string]*clientcmdapi.Cluster
	// Users has the users: name -> user.
	Users map[string]*clientcmdapi.AuthInfo
	// Contexts has the contexts: name -> context.
	Contexts map[string]*clientcmdapi.Context
	// CurrentContext is the context to use, "" for none. nil leaves it as it is.
	CurrentContext *string
}

// Update calls change with the merged content of the files, and writes what it returns. It
// holds the locks of the files to be written. change may be called several times, so it must
// have no effects. A file is replaced as a whole or not at all.
func (f *Files) Update(ctx context.Context, change func(current *clientcmdapi.Config) (Change, error)) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	edits, err := f.plan(change)
	if err != nil {
		return err
	}
	for len(edits) > 0 {
		locked := slices.Sorted(maps.Keys(edits))
		done, next, err := f.tryUpdate(ctx, locked, change)
		if err != nil || done {
			return err
		}
		edits = next
	}
	return nil
}

// tryUpdate locks the files, plans again, and writes. done is false if other files have to be
// written by now. They are the keys of next.
func (f *Files) tryUpdate(ctx context.Context, files []string, change func(*clientcmdapi.Config) (Change, error)) (done bool, next map[string][]edit, err error) {
	for _, file := range files {
		lock, err := acquire(ctx, file)
		if err != nil {
			return false, nil, err
		}
		defer lock.release()
	}
	edits, err := f.plan(change)
	if err != nil {
		return false, nil, err
	}
	for file := range edits {
		if !slices.Contains(files, file) {
			return false, edits, nil
		}
	}
	for _, file := range slices.Sorted(maps.Keys(edits)) {
		if err := rewrite(file, edits[file]); err != nil {
			return false, nil, err
		}
	}
	return true, nil, nil
}

// plan returns what the change changes: file -> edits.
func (f *Files) plan(change func(*clientcmdapi.Config) (Change, error)) (map[string][]edit, error) {
	current, err := f.Load()
	if err != nil {
		return nil, err
	}
	wanted, err := change(current)
	if err != nil {
		return nil, err
	}
	edits, origins := map[string][]edit{}, originsOf(current)
	add := func(section, name string, content *clientcmdapi.Config) {
		origin, exists := origins[section][name]
		if content == nil && !exists {
			return
		}
		file := cmp.Or(origin, f.options.GetDefaultFilename())
		edits[file] = append(edits[file], edit{section: section, name: name, content: content})
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Clusters)) {
		add("clusters", name, withCluster(name, wanted.Clusters[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Contexts)) {
		add("contexts", name, withContext(name, wanted.Contexts[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Users)) {
		add("users", name, withUser(name, wanted.Users[name]))
	}
	if wanted.CurrentContext != nil && *wanted.CurrentContext != current.CurrentContext {
		if file := f.currentContextFile(*wanted.CurrentContext); file != "" {
			edits[file] = append(edits[file], edit{section: "current-context", name: *wanted.CurrentContext})
		}
	}
	return edits, nil
}

// originsOf returns the file of each entry: section -> name -> file.
func originsOf(config *clientcmdapi.Config) map[string]map[string]string {
	clusters, contexts, users := map[string]string{}, map[string]string{}, map[string]string{}
	for name, cluster := range config.Clusters {
		clusters[name] = cluster.LocationOfOrigin
	}
	for name, context := range config.Contexts {
		contexts[name] = context.LocationOfOrigin
	}
	for name, user := range config.AuthInfos {
		users[name] = user.LocationOfOrigin
	}
	return map[string]map[string]string{"clusters": clusters, "contexts": contexts, "users": users}
}

func withCluster(name string, cluster *clientcmdapi.Cluster) *clientcmdapi.Config {
	if cluster == nil {
		return nil
	}
	return &clientcmdapi.Config{Clusters: map[string]*clientcmdapi.Cluster{name: cluster}}
}

func withContext(name string, context *clientcmdapi.Context) *clientcmdapi.Config {
	if context == nil {
		return nil
	}
	return &clientcmdapi.Config{Contexts: map[string]*clientcmdapi.Context{name: context}}
}

func withUser(name string, user *clientcmdapi.AuthInfo) *clientcmdapi.Config {
	if user == nil {
		return nil
	}
	return &clientcmdapi.Config{AuthInfos: map[string]*clientcmdapi.AuthInfo{name: user}}
}

// currentContextFile returns the file to write current-context to, as kubectl chooses it. A new
// value goes to the default file. To clear it, the first file that has one is changed.
func (f *Files) currentContextFile(wanted string) string {
	if wanted != "" || f.options.IsExplicitFile() {
		return f.options.GetDefaultFilename()
	}
	for _, file := range f.options.GetLoadingPrecedence() {
		if config, err := clientcmd.LoadFromFile(file); err == nil && config.CurrentContext != "" {
			return file
		}
	}
	return ""
}

// rewrite applies edits to one file.
func rewrite(file string, edits []edit) error {
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("cannot read kubeconfig: %w", err)
	}
	document, err := parse(data)
	if err != nil {
		return fmt.Errorf("cannot parse kubeconfig %s: %w", file, err)
	}
	for _, e := range edits {
		if err := document.apply(e); err != nil {
			return fmt.Errorf("cannot change kubeconfig %s: %w", file, err)
		}
	}
	out, err := document.encode()
	if err != nil {
		return fmt.Errorf("cannot encode kubeconfig %s: %w", file, err)
	}
	return replace(file, out)
}
