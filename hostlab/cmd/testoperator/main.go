// Command testoperator is an operator as any other, for end-to-end tests. It runs in a pod
// of a virtual cluster and knows nothing of it.
//
//	testoperator --namespace NAMESPACE --certificates FOLDER
//
// It keeps Shelves, of a CustomResourceDefinition. For each book of a Shelf there is a
// ConfigMap, and the status has their number. A webhook gives a Shelf one book if its
// number is missing, another refuses more than five. A finalizer records the end of a Shelf
// in the ConfigMap removed-NAME. Replicas elect a leader.
package main

import (
	"flag"
	"fmt"
	"os"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

func main() {
	namespace := flag.String("namespace", "", "namespace of the lease")
	certificates := flag.String("certificates", "", "folder with tls.crt and tls.key of the webhooks")
	flag.Parse()
	log.SetLogger(klog.Background())
	if err := run(*namespace, *certificates); err != nil {
		fmt.Fprintf(os.Stderr, "testoperator: %v\n", err)
		os.Exit(1)
	}
}

// run runs the operator until it gets a signal.
func run(namespace, certificates string) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	m, err := ctrl.NewManager(config, manager.Options{
		LeaderElection: true, LeaderElectionID: "testoperator", LeaderElectionNamespace: namespace,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: ":8081",
		WebhookServer:          webhook.NewServer(webhook.Options{Port: 9443, CertDir: certificates}),
	})
	if err != nil {
		return fmt.Errorf("cannot create the manager: %w", err)
	}
	m.GetWebhookServer().Register("/default", &webhook.Admission{Handler: defaulter{}})
	m.GetWebhookServer().Register("/validate", &webhook.Admission{Handler: validator{}})
	if err := m.AddReadyzCheck("webhooks", m.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := addController(m); err != nil {
		return fmt.Errorf("cannot create the controller: %w", err)
	}
	return m.Start(ctrl.SetupSignalHandler())
}
