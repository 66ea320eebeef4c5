package cli_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// TestVerbs runs commands that read, on a host that answers.
func TestVerbs(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, nil,
		release.Release{Name: "shop", Namespace: "tenant-shop"}, release.Release{Name: "split", Namespace: "tenant-split"})})
	for _, c := range []struct {
		reason        string
		args          []string
		want, wantNot []string
	}{
		{
			"describe", []string{"describe", "shop"},
			[]string{
				"Name:       shop\n", "Status:     Ready\n", "Replicas:   1 of 1 ready\n", "Store:      etcd.embedded\n", "2 pods on 2 nodes, requests cpu=200m memory=128Mi",
				"shop-0  ready, 0 restarts, on node node-a", "pods  3 of 10", "unknown  cannot get Secret tenant-shop/shop-operator", "shop-0 Unhealthy: probe of shop-0 failed",
			},
			[]string{"probe of other"},
		},
		{"logs", []string{"logs", "shop", "--tail", "1"}, []string{"a line of shop-0\n"}, nil},
		{"logs of a split control plane", []string{"logs", "split"}, []string{"split-0 a line of split-0\n", "split-controllers-0 a line of split-controllers-0\n"}, nil},
		{"describe a split control plane", []string{"describe", "split"}, []string{"split-0  ", "split-controllers-0  "}, nil},
		{"debug collect of a split control plane", []string{"debug", "collect", "split", "--dry-run"}, []string{"logs/split-0.log", "logs/split-controllers-0.log"}, nil},
		{"names of virtual clusters", []string{"__complete", "connect", ""}, []string{"shop\n"}, nil},
		{"names of virtual clusters that start with a letter", []string{"__complete", "describe", "x"}, nil, []string{"shop"}},
		{"names of contexts", []string{"__complete", "list", "--context", ""}, []string{"east\n"}, nil},
		{"names of contexts that start with a letter", []string{"__complete", "list", "--context", "x"}, nil, []string{"east"}},
		{"names of namespaces", []string{"__complete", "list", "--namespace", ""}, []string{"tenant-shop\n", "tenant-split\n"}, nil},
		{"names of namespaces that start with letters", []string{"__complete", "describe", "-n", "tenant-sp"}, []string{"tenant-split\n"}, []string{"tenant-shop"}},
		{"names in one namespace", []string{"__complete", "logs", "-n", "tenant-split", ""}, []string{"split\n"}, []string{"shop"}},
		{"no names for one that does not exist yet", []string{"__complete", "create", ""}, nil, []string{"shop"}},
		{"formats", []string{"__complete", "list", "-o", ""}, []string{"wide\n", "jsonpath=\n"}, nil},
		{"orders", []string{"__complete", "top", "--sort-by", ""}, []string{"memory\n"}, nil},
		{"help", nil, []string{"Available Commands", "connect"}, []string{"forward-in-background"}},
		{"version", []string{"version", "--host-timeout=1m"}, []string{"sublet v0.0.0 ", "east   tenant-shop    shop    0.1.0", "split"}, nil},
		{"version for programs", []string{"version", "--host-timeout=1m", "-o", "jsonpath={.client.version} {.servers[0].name} {.servers[0].version}"}, []string{"v0.0.0 shop 0.1.0"}, nil},
		{"version of the program alone", []string{"version", "--client"}, []string{"sublet v0.0.0 "}, []string{"shop"}},
	} {
		out, errOut, code := runSublet(t, file, c.args...)
		isMissing := func(want string) bool { return !strings.Contains(out, want) }
		// A completion ends after 2 s, in which a busy machine may not answer.
		for i := 0; i < 20 && len(c.args) > 0 && c.args[0] == "__complete" && slices.ContainsFunc(c.want, isMissing); i++ {
			out, errOut, code = runSublet(t, file, c.args...)
		}
		if code != 0 {
			t.Errorf("%s: exit code %d: %s", c.reason, code, errOut)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s lacks %q:\n%s", c.reason, want, out)
			}
		}
		for _, wantNot := range c.wantNot {
			if strings.Contains(out, wantNot) {
				t.Errorf("%s has %q:\n%s", c.reason, wantNot, out)
			}
		}
	}
}

// TestCompletion prints a script for each shell, and completes for kubectl, which runs a program of another name.
func TestCompletion(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, nil, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out, errOut, code := runSublet(t, file, "completion", shell)
		if code != 0 || !strings.Contains(out, "__complete") || errOut != "" {
			t.Errorf("%s: exit code %d, %d bytes: %s", shell, code, len(out), errOut)
		}
	}
	var out bytes.Buffer
	for i := 0; i < 20 && !strings.HasPrefix(out.String(), "shop\n"); i++ { // It ends after 2 s, see above.
		out.Reset()
		env := &host.Env{Flags: genericclioptions.NewConfigFlags(true), In: strings.NewReader(""), Out: &out, Err: io.Discard}
		if code := cli.Execute(t.Context(), env, "kubectl_complete-sublet", []string{"--kubeconfig=" + file, "describe", ""}); code != 0 {
			t.Fatalf("for kubectl: exit code %d, %q", code, out.String())
		}
	}
	if !strings.HasPrefix(out.String(), "shop\n") {
		t.Errorf("for kubectl: %q", out.String())
	}
}

// TestConfirm refuses on a terminal. Nothing is deleted.
func TestConfirm(t *testing.T) {
	t.Parallel()
	deleted := atomic.Bool{}
	answer := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			deleted.Store(true)
		}
		return false
	}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	var out, errOut bytes.Buffer
	env := &host.Env{Flags: genericclioptions.NewConfigFlags(true), In: strings.NewReader("n\n"), Out: &out, Err: &errOut, IsTerminal: true}
	code := cli.Execute(t.Context(), env, "sublet", []string{"--kubeconfig=" + file, "delete", "shop"})
	text := errOut.String()
	if code != 1 || deleted.Load() || !strings.Contains(text, "[y/N]") || !strings.Contains(text, "Namespace tenant-shop stays.") || !strings.Contains(text, "nothing was changed") {
		t.Errorf("exit code %d, a request to delete: %t\n%s", code, deleted.Load(), text)
	}
}
