package app

import (
	"context"

	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/definitions"
)

// runDefinitions keeps the CustomResourceDefinitions of volume snapshots up to date during one
// leader term. virtual has the identity of the syncer.
func runDefinitions(ctx context.Context, virtual *rest.Config) error {
	client, err := apiextensionsclient.NewForConfig(virtual)
	if err != nil {
		return err
	}
	all, err := definitions.Snapshots()
	if err != nil {
		return err
	}
	keeper := &definitions.Keeper{Client: client.CustomResourceDefinitions(), Definitions: all, Clock: clock.RealClock{}}
	return keeper.Run(ctx)
}
