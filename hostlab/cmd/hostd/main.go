// Command hostd has in one binary the programs of a host cluster whose libraries Sublet
// uses anyway:
//
//	hostd kube-apiserver | kube-controller-manager | kube-scheduler
//	hostd kubelet | kube-proxy | metrics-server
//	hostd etcd | coredns | registry
//	hostd kubectl
//
// One binary links once, where eight would link eight times, and it comes out of
// the same build cache as the product. The Kubernetes programs take the flags
// they always take; a link named like one of them works too. It is meant for
// throw-away hosts only: etcd, CoreDNS and the registry have just the options
// that such a host needs.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // time zones of CronJobs

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name, args := program(os.Args)
	// The Kubernetes commands and klog read os.Args themselves.
	os.Args = append([]string{name}, args...)
	os.Exit(run(name, args))
}

// program finds out which program is meant: by the name the binary was called
// by, or by its first argument.
func program(args []string) (string, []string) {
	if name := filepath.Base(args[0]); slices.Contains(names(), name) {
		return name, args[1:]
	}
	if len(args) < 2 {
		return "", nil
	}
	return args[1], args[2:]
}

func names() []string {
	return []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "metrics-server",
		"etcd", "coredns", "registry", "kubectl",
	}
}

func run(name string, args []string) int {
	var command *cobra.Command
	switch name {
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		command = proxy.NewProxyCommand()
	case "metrics-server":
		command = newMetricsServerCommand(shutdownContext())
	case "kubectl":
		return report(name, cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	case "etcd":
		return report(name, runEtcd(args))
	case "coredns":
		return report(name, runCoreDNS(args))
	case "registry":
		return report(name, runRegistry(args))
	default:
		fmt.Fprintf(os.Stderr, "hostd: which program? One of %s\n", strings.Join(names(), ", "))
		return 2
	}
	return cli.Run(command)
}

func report(name string, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return 1
}
