package kubeconfig_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

// writerVariable names the environment variable that makes a process of this test a writer. It
// has the file and the name of a context, with a bar between them.
const writerVariable = "SUBLET_TEST_WRITER"

func TestMain(m *testing.M) {
	if text := os.Getenv(writerVariable); text != "" {
		file, name, forever := strings.Cut(text, "|")
		if name == holdName {
			hold(file)
		}
		if err := writeForever(file, strings.TrimPrefix(name, "forever-"), forever && strings.HasPrefix(name, "forever-")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holdName makes a writer stop while it holds the lock.
const holdName = "hold"

// hold takes the lock of a file, prints a line, and never ends.
func hold(file string) {
	_ = kubeconfig.New(file).Update(context.Background(), func(*clientcmdapi.Config) (kubeconfig.Change, error) {
		if _, err := os.Stat(file + ".lock"); err == nil {
			fmt.Fprintln(os.Stdout, "locked")
			_, _ = io.Copy(io.Discard, os.Stdin) // which the test does not close
		}
		name := "never"
		return kubeconfig.Change{CurrentContext: &name}, nil
	})
}

// writeForever writes one context, or one after the other until the process is killed.
func writeForever(file, name string, forever bool) error {
	for i := 0; i == 0 || forever; i++ {
		if err := addContext(context.Background(), file, fmt.Sprintf("%s-%d", name, i)); err != nil {
			return err
		}
		if forever {
			fmt.Fprintln(os.Stdout, i)
		}
	}
	return nil
}

// addContext adds a context with its cluster and user, and makes it current.
func addContext(ctx context.Context, file, name string) error {
	return kubeconfig.New(file).Update(ctx, func(*clientcmdapi.Config) (kubeconfig.Change, error) {
		return kubeconfig.Change{
			Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: "https://" + name}},
			Users:          map[string]*clientcmdapi.AuthInfo{name: {Token: name}},
			Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
			CurrentContext: &name,
		}, nil
	})
}
