package kubeconfig

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// extension is the name of the extension of a context that has a [Connection].
const extension = "sublet.dev/connection"

// Connection is what a context that "sublet connect" wrote records of its origin.
type Connection struct {
	// Name and Namespace are those of the release on the host.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// HostContext is the context of the host. It is empty for the host that a pod runs in.
	HostContext string `json:"hostContext"`
	// Previous is the context that was current before.
	Previous string `json:"previous"`
	// ID is the forwarder that serves the context. It ends once no context has its ID. Empty
	// means that the virtual API is reached without one.
	ID string `json:"id,omitempty"`
}

// ConnectionOf returns the connection that a context records. ok is false for other contexts.
func ConnectionOf(context *clientcmdapi.Context) (connection Connection, ok bool) {
	if context == nil {
		return Connection{}, false
	}
	unknown, isUnknown := context.Extensions[extension].(*runtime.Unknown)
	if !isUnknown || json.Unmarshal(unknown.Raw, &connection) != nil {
		return Connection{}, false
	}
	return connection, connection.Name != ""
}

// ContextFor returns a context for cluster and user of the given name, with its connection.
func ContextFor(name string, connection Connection) (*clientcmdapi.Context, error) {
	raw, err := json.Marshal(connection)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the connection: %w", err)
	}
	context := clientcmdapi.NewContext()
	context.Cluster, context.AuthInfo = name, name
	context.Extensions[extension] = &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}
	return context, nil
}
