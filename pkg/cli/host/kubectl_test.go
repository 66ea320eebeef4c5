package host_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/cert"
)

// Files of the cases. Each is a kubeconfig with a host of its own.
const (
	fileA = `apiVersion: v1
kind: Config
clusters:
- {name: one, cluster: {server: "https://one.example:1"}}
contexts:
- {name: dev, context: {cluster: one, user: ann, namespace: shop}}
- {name: shared, context: {cluster: one, user: ann}}
current-context: dev
users:
- {name: ann, user: {token: secret-a}}
`
	fileB = `apiVersion: v1
kind: Config
clusters:
- cluster: {server: "https://two.example:2"}
  name: two
- cluster: {server: "https://hidden.example:9"}
  name: one
contexts:
- context: {cluster: two, user: ben}
  name: prod
- context: {cluster: two, user: ben, namespace: hidden}
  name: shared
current-context: prod
users:
- name: ben
  user: {token: secret-b}
`
	noCurrent = `apiVersion: v1
kind: Config
clusters:
- cluster: {server: "https://three.example:3"}
  name: three
contexts:
- context: {cluster: three, user: cat}
  name: test
users:
- name: cat
  user: {token: secret-c}
`
	// ways has the fields that choose how a client reaches and enters a host. Its paths are relative to its folder.
	ways = `apiVersion: v1
kind: Config
clusters:
- name: one
  cluster: {server: "https://one.example:1", proxy-url: "socks5://proxy.example:2", tls-server-name: inner.example, certificate-authority: keys/ca.crt}
contexts:
- {name: exec, context: {cluster: one, user: exec, namespace: shop}}
- {name: provider, context: {cluster: one, user: provider}}
- {name: certificate, context: {cluster: one, user: certificate}}
current-context: exec
users:
- {name: exec, user: {as: cat, exec: {apiVersion: client.authentication.k8s.io/v1, command: ./keys/plugin, interactiveMode: Never}}}
- {name: provider, user: {auth-provider: {name: oidc, config: {client-id: sublet, idp-issuer-url: "https://issuer.example"}}}}
- {name: certificate, user: {client-certificate: keys/client.crt, client-key: keys/client.key}}
`
	nulls     = "apiVersion: v1\nkind: Config\nclusters: null\ncontexts: null\nusers: null\ncurrent-context: \"\"\npreferences: {}\n"
	asJSON    = `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"one","cluster":{"server":"https://one.example:1"}}],"contexts":[{"name":"dev","context":{"cluster":"one","user":"ann"}}],"current-context":"dev","users":[{"name":"ann","user":{"token":"t"}}]}`
	noVersion = "clusters:\n- name: one\n  cluster: {server: \"https://one.example:1\"}\ncontexts:\n- name: dev\n  context: {cluster: one}\ncurrent-context: dev\n"
)

// kubectlCase is one case: files below the home directory, KUBECONFIG, and the arguments of
// "kubectl config".
type kubectlCase struct {
	reason string
	files  map[string]string
	env    string // paths with a colon between them, below the home directory, which is the working directory too
	args   []string
}

var home = map[string]string{".kube/config": fileA}

var inFolder = map[string]string{"sub/w": ways}

var both = map[string]string{"a": fileA, "b": fileB}

// kubectlWrites are the cases that change files.
var kubectlWrites = []kubectlCase{
	{"one file by default", home, "", []string{"use-context", "shared"}},
	{"no file by default", nil, "", []string{"set-context", "new", "--cluster=one"}},
	{"no file by default, a cluster", nil, "", []string{"set-cluster", "new", "--server=https://new:1"}},
	{"KUBECONFIG hides the default", map[string]string{".kube/config": fileA, "b": fileB}, "b", []string{"use-context", "shared"}},
	{"a list: a known context stays in its file", both, "a:b", []string{"set-context", "prod", "--namespace=x"}},
	{"a list: a hidden context is not touched", both, "a:b", []string{"set-context", "shared", "--namespace=x"}},
	{"a list in the other order", both, "b:a", []string{"set-context", "shared", "--namespace=x"}},
	{"a list: a new context goes to the first file", both, "a:b", []string{"set-context", "new", "--cluster=two", "--user=ben"}},
	{"a list: the first file is missing", both, "missing:b", []string{"set-context", "new", "--cluster=two"}},
	{"a list: all are missing, the last is written", nil, "x:y", []string{"set-context", "new", "--cluster=two"}},
	{"a list: use-context", both, "a:b", []string{"use-context", "prod"}},
	{"a list: the same context again", both, "a:b", []string{"use-context", "dev"}},
	{"a list: the first has no current context", map[string]string{"n": noCurrent, "b": fileB}, "n:b", []string{"use-context", "test"}},
	{"clear the current context", both, "a:b", []string{"unset", "current-context"}},
	{"clear it where the second file has it", map[string]string{"n": noCurrent, "b": fileB}, "n:b", []string{"unset", "current-context"}},
	{"delete a context of the second file", both, "a:b", []string{"delete-context", "prod"}},
	{"delete a context of both files", both, "a:b", []string{"delete-context", "shared"}},
	{"delete a cluster", both, "a:b", []string{"delete-cluster", "one"}},
	{"delete a user", both, "a:b", []string{"delete-user", "ben"}},
	{"an explicit file", map[string]string{".kube/config": fileA, "b": fileB}, "", []string{"use-context", "shared", "--kubeconfig=HOME/b"}},
	{"an explicit file before KUBECONFIG", both, "a", []string{"set-context", "new", "--kubeconfig=HOME/b", "--cluster=two"}},
	{"an explicit file that is missing", home, "", []string{"set-cluster", "c", "--kubeconfig=HOME/new", "--server=https://c:1"}},
	{"a file in a folder that is missing", nil, "deep/er/config", []string{"set-credentials", "u", "--token=t"}},
	{"an empty file", map[string]string{"e": ""}, "e", []string{"set-context", "new", "--cluster=c", "--user=u"}},
	{"sections that are null", map[string]string{"e": nulls}, "e", []string{"set-cluster", "c", "--server=https://c:1"}},
	{"a file in JSON", map[string]string{"j": asJSON}, "j", []string{"set-context", "dev", "--namespace=x"}},
	{"a file without a version", map[string]string{"v": noVersion}, "v", []string{"set-credentials", "u", "--token=t"}},
	{"names that YAML would read as something else", home, "", []string{"set-context", "true", "--cluster=1e3", "--user=null"}},
	{"a name with a colon and a hash", home, "", []string{"set-context", "arn:aws: #1", "--cluster=one"}},
	{"a field of a known cluster", home, "", []string{"set-cluster", "one", "--tls-server-name=other"}},
	{"a token of a known user", both, "a:b", []string{"set-credentials", "ben", "--token=new"}},
	{"a relative path in KUBECONFIG", both, "./a:./b", []string{"use-context", "shared"}},
	{"an explicit file with a relative path", both, "", []string{"use-context", "shared", "--kubeconfig=b"}},
	{"paths in a file stay as they are", inFolder, "sub/w", []string{"set-context", "new", "--cluster=one", "--user=certificate"}},
	{"a cluster with a path in it", inFolder, "./sub/w", []string{"set-cluster", "one", "--tls-server-name=other"}},
}

// kubectlReads are the cases that print what a client uses.
var kubectlReads = []kubectlCase{
	{"one file by default", home, "", []string{"view"}},
	{"a list is merged, first wins", both, "a:b", []string{"view"}},
	{"a list in the other order", both, "b:a", []string{"view"}},
	{"missing files are skipped", both, "missing:b:gone", []string{"view"}},
	{"empty entries are skipped", both, ":b:", []string{"view"}},
	{"a file twice", both, "a:a:b", []string{"view"}},
	{"a context of the second file, its cluster hidden by the first", both, "a:b", []string{"view", "--context=prod"}},
	{"a context of both files", both, "a:b", []string{"view", "--context=shared"}},
	{"the current context of a later file", map[string]string{"n": noCurrent, "a": fileA}, "n:a", []string{"view"}},
	{"an explicit file before KUBECONFIG", both, "a", []string{"view", "--kubeconfig=HOME/b"}},
	{"relative paths in KUBECONFIG", both, "./b:./a", []string{"view"}},
	{"an exec plugin, a proxy, a name for TLS, another user", inFolder, "sub/w", []string{"view"}},
	{"an auth-provider plugin", inFolder, "./sub/w", []string{"view", "--context=provider"}},
	{"a certificate with a relative path", inFolder, "sub/w", []string{"view", "--context=certificate"}},
	{"a certificate with a relative path, behind another file", map[string]string{"n": noCurrent, "sub/w": ways}, "n:sub/w", []string{"view", "--context=certificate"}},
	{"an explicit file in a folder", inFolder, "", []string{"view", "--kubeconfig=sub/w", "--context=certificate"}},
}

// viewed are the fields of "kubectl config view" that the cases compare.
const viewed = `{.current-context}|{.contexts[0].context.namespace}|{.clusters[0].cluster.server}|{.users[0].user.token}|` +
	`{.clusters[0].cluster.proxy-url}|{.clusters[0].cluster.tls-server-name}|{.clusters[0].cluster.certificate-authority}|{.users[0].user.as}|` +
	`{.users[0].user.exec.command}|{.users[0].user.auth-provider.name}|{.users[0].user.client-certificate}|{.users[0].user.client-key}`

// TestKubectl compares each case with kubectl itself.
func TestKubectl(t *testing.T) {
	t.Parallel()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed: there is nothing to compare with")
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("one.example", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"ca.crt": certificate, "client.crt": certificate, "client.key": key}
	for _, c := range kubectlWrites {
		t.Run("write/"+c.reason, func(t *testing.T) {
			t.Parallel()
			theirs, ours := c.prepare(t, files), c.prepare(t, files)
			if out, err := c.kubectl(kubectl, theirs, append([]string{"config"}, c.args...)).CombinedOutput(); err != nil {
				t.Fatalf("kubectl: %v: %s", err, out)
			}
			if out, err := c.ours(t, ours).CombinedOutput(); err != nil {
				t.Fatalf("ours: %v: %s", err, out)
			}
			for name := range names(t, theirs, ours) {
				if diff := cmp.Diff(load(t, filepath.Join(theirs, name)), load(t, filepath.Join(ours, name))); diff != "" {
					t.Errorf("%s (-kubectl +ours):\n%s", name, diff)
				}
			}
		})
	}
	for _, c := range kubectlReads {
		t.Run("read/"+c.reason, func(t *testing.T) {
			t.Parallel()
			dir := c.prepare(t, files)
			out, err := c.kubectl(kubectl, dir, append([]string{"config", "view", "--minify", "--raw", "-o", "jsonpath=" + viewed}, c.args[1:]...)).Output()
			if err != nil {
				t.Fatalf("kubectl: %v", err)
			}
			got, err := c.ours(t, dir).Output()
			if err != nil {
				t.Fatalf("ours: %v", err)
			}
			want := strings.Split(string(out), "|")
			if want[1] == "" {
				want[1] = "default"
			}
			for _, at := range []int{6, 8, 10, 11} {
				if want[at] != "" && !filepath.IsAbs(want[at]) {
					want[at] = filepath.Join(dir, "sub", want[at]) // kubectl prints paths as the file has them
				}
			}
			if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(string(got), "\n"), "|")); diff != "" {
				t.Errorf("%s (-kubectl +ours):\n%s", viewed, diff)
			}
		})
	}
}

// prepare writes the files of a case, and keys that they may name. It returns their folder.
func (c kubectlCase) prepare(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range c.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := filepath.Join(dir, "sub", "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(keys, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// environment returns the environment of a process whose home is dir.
func (c kubectlCase) environment(dir string) []string {
	paths := strings.Split(c.env, ":")
	for i, path := range paths {
		if path != "" && !strings.HasPrefix(path, "./") {
			paths[i] = filepath.Join(dir, path)
		}
	}
	return []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + strings.Join(paths, ":")}
}

// arguments returns the arguments with the home directory in them.
func arguments(dir string, args []string) []string {
	out := []string{}
	for _, arg := range args {
		out = append(out, strings.ReplaceAll(arg, "HOME/", dir+"/"))
	}
	return out
}

func (c kubectlCase) kubectl(program, dir string, args []string) *exec.Cmd {
	cmd := exec.Command(program, arguments(dir, args)...)
	cmd.Env, cmd.Dir = c.environment(dir), dir
	return cmd
}

func (c kubectlCase) ours(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(arguments(dir, c.args))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Dir = append(c.environment(dir), childVariable+"="+string(text)), dir
	return cmd
}

// names returns the names of the kubeconfig files below two folders.
func names(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if !entry.IsDir() && !strings.Contains(name, "cache") && !strings.Contains(name, "keys") {
				found[name] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
