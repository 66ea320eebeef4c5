package syncer

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deletingClient is a client whose Delete drops the answer. That of controller-runtime
// decodes the object in it and converts it to JSON and back. For a pod this costs more than
// the request itself.
type deletingClient struct {
	client.Client
	deletes metadata.Interface
}

func newDeletingClient(c client.Client, config *rest.Config, h *http.Client) (*deletingClient, error) {
	deletes, err := metadata.NewForConfigAndClient(config, h)
	if err != nil {
		return nil, fmt.Errorf("cannot create the client for deletes: %w", err)
	}
	return &deletingClient{c, deletes}, nil
}

// Delete implements client.Client.
func (c *deletingClient) Delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	gvk, err := c.GroupVersionKindFor(object)
	if err != nil {
		return err
	}
	mapping, err := c.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	var all client.DeleteOptions
	all.ApplyOptions(options)
	return c.deletes.Resource(mapping.Resource).Namespace(object.GetNamespace()).Delete(ctx, object.GetName(), *all.AsDeleteOptions())
}
