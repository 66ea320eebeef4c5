// Command netpol enforces NetworkPolicies on the node of a local host, in whose network
// namespace it runs.
//
//	netpol --kubeconfig FILE --node NAME [--admit ADDRESS,...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sublet-dev/sublet/hostlab/netpol"
)

// pause is the time in which changes are collected, and after which a failure is repeated.
const (
	pause      = 20 * time.Millisecond
	retryPause = time.Second
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the cluster")
	node := flag.String("node", "", "name of this node")
	admit := flag.String("admit", "", "addresses of the node, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, *kubeconfig, *node, strings.Split(*admit, ","))
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "netpol: %v\n", err)
		os.Exit(1)
	}
}

// run applies the rules whenever they change, until the context ends.
func run(ctx context.Context, kubeconfig, node string, admitted []string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot create a client: %w", err)
	}
	onNode := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}))
	everywhere := informers.NewSharedInformerFactory(client, 0)
	pods := onNode.Core().V1().Pods()
	namespaces, policies := everywhere.Core().V1().Namespaces(), everywhere.Networking().V1().NetworkPolicies()

	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(any, any) { notify() }, DeleteFunc: func(any) { notify() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("cannot watch: %w", err)
		}
	}
	onNode.Start(ctx.Done())
	everywhere.Start(ctx.Done())
	onNode.WaitForCacheSync(ctx.Done())
	everywhere.WaitForCacheSync(ctx.Done())
	notify()

	applied := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		sleep(ctx, pause)
		state := netpol.State{Admitted: admitted}
		state.Pods, _ = pods.Lister().List(apilabels.Everything()) // A cache never fails.
		state.Namespaces, _ = namespaces.Lister().List(apilabels.Everything())
		state.Policies, _ = policies.Lister().List(apilabels.Everything())
		rules := netpol.Rules(state)
		if rules == applied {
			continue
		}
		if err := apply(ctx, rules); err != nil {
			fmt.Fprintf(os.Stderr, "netpol: %v\n%s\n", err, rules)
			sleep(ctx, retryPause)
			notify()
			continue
		}
		applied = rules
	}
}

// sleep returns after d, or when the context ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// apply gives a script to nft, which applies all of it or nothing.
func apply(ctx context.Context, rules string) error {
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot apply rules: %w: %s", err, out)
	}
	return nil
}
