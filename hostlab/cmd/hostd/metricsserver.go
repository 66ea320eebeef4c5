package main

import (
	"context"

	"github.com/spf13/cobra"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app/options"
	"sigs.k8s.io/metrics-server/pkg/api"
)

// newMetricsServerCommand returns the metrics server with its own flags. Its generated
// description of the API has type names that the libraries here do not have any more, so
// it gets that of Kubernetes.
func newMetricsServerCommand(ctx context.Context) *cobra.Command {
	opts := options.NewOptions()
	command := &cobra.Command{Use: "metrics-server", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		if errs := opts.Validate(); len(errs) > 0 {
			return errs[0]
		}
		config, err := opts.ServerConfig()
		if err != nil {
			return err
		}
		namer := openapinamer.NewDefinitionNamer(api.Scheme)
		config.Apiserver.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
		config.Apiserver.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
		server, err := config.Complete()
		if err != nil {
			return err
		}
		return server.RunUntil(ctx.Done())
	}}
	for _, set := range opts.Flags().FlagSets {
		command.Flags().AddFlagSet(set)
	}
	return command
}
