package debug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"github.com/sublet-dev/sublet/api/labels"
	apirelease "github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// maxLog bounds the bytes of one log.
const maxLog = 16 << 20

// What is left out of each type.
const (
	nothing      = "nothing"
	annotations  = "values of unknown annotations"
	podSecrets   = "values of environment variables, arguments of unknown containers, " + annotations
	secretValues = "all values: only metadata is requested"
	fromLogs     = "tokens, keys, passwords, certificates"
)

// collector collects the state of one virtual cluster.
type collector struct {
	apirelease.Release
	host     *host.Host
	pods     []string
	tail     int64
	metadata metadata.Interface
	operator *connection.Target
}

// items returns the files of the bundle. No request is sent before one is collected.
func (c *collector) items() []item {
	own := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + c.Name}
	tenant := metav1.ListOptions{LabelSelector: labels.Release + "=" + c.Name}
	all := metav1.ListOptions{}
	core, apps := c.host.Client.CoreV1(), c.host.Client.AppsV1()
	items := []item{
		{"host/version.json", "version of the host", nothing, c.version},
		{"host/namespace.json", "Namespace " + c.Namespace, annotations, func(ctx context.Context) ([]byte, error) {
			return encode(core.Namespaces().Get(ctx, c.Namespace, metav1.GetOptions{}))
		}},
		{"release/values.json", "settings of the release, from Helm", "text that is no default and not of a fixed list", c.values},
		{"release/statefulsets.json", "StatefulSets of the release", podSecrets, func(ctx context.Context) ([]byte, error) {
			return encode(apps.StatefulSets(c.Namespace).List(ctx, own))
		}},
		{"release/pods.json", "pods of the control plane", podSecrets, func(ctx context.Context) ([]byte, error) {
			return encode(core.Pods(c.Namespace).List(ctx, own))
		}},
		{"release/services.json", "Services of the release", annotations, func(ctx context.Context) ([]byte, error) {
			return encode(core.Services(c.Namespace).List(ctx, own))
		}},
		{"release/configmaps.json", "ConfigMaps of the release", "all values, " + annotations, func(ctx context.Context) ([]byte, error) {
			return encode(core.ConfigMaps(c.Namespace).List(ctx, own))
		}},
		{"release/claims.json", "PersistentVolumeClaims of the release", annotations, func(ctx context.Context) ([]byte, error) {
			return encode(core.PersistentVolumeClaims(c.Namespace).List(ctx, own))
		}},
		{"release/roles.json", "Roles of the release", annotations, func(ctx context.Context) ([]byte, error) {
			return encode(c.host.Client.RbacV1().Roles(c.Namespace).List(ctx, own))
		}},
		{"release/secrets.json", "names of the Secrets of the release", secretValues, func(ctx context.Context) ([]byte, error) {
			return encode(c.metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(c.Namespace).List(ctx, own))
		}},
		{"namespace/quotas.json", "ResourceQuotas of the namespace", annotations, func(ctx context.Context) ([]byte, error) {
			return encode(core.ResourceQuotas(c.Namespace).List(ctx, all))
		}},
		{"namespace/events.json", "Events of the namespace", fromLogs, func(ctx context.Context) ([]byte, error) {
			return encode(core.Events(c.Namespace).List(ctx, all))
		}},
		{"tenant/pods.json", "host pods of the tenant", podSecrets, func(ctx context.Context) ([]byte, error) {
			return encode(core.Pods(c.Namespace).List(ctx, tenant))
		}},
		{"control-plane/parts.json", "health of the parts, from the operator's port", fromLogs, func(ctx context.Context) ([]byte, error) {
			report, err := c.operator.Report(ctx)
			if err != nil {
				return nil, err
			}
			for i := range report.Checks {
				report.Checks[i].Message = redactText(report.Checks[i].Message)
				for j := range report.Checks[i].Details {
					report.Checks[i].Details[j] = redactText(report.Checks[i].Details[j])
				}
			}
			return json.MarshalIndent(report, "", "  ")
		}},
	}
	return append(items, c.logs()...)
}

// logs returns the files with the logs of all pods of the control plane.
func (c *collector) logs() []item {
	items := []item{}
	for _, pod := range c.pods {
		items = append(
			items,
			item{"logs/" + pod + ".log", "log of pod " + pod, fromLogs, c.log(pod, corev1.PodLogOptions{})},
			item{"logs/" + pod + ".previous.log", "log of pod " + pod + " before its last restart", fromLogs, c.log(pod, corev1.PodLogOptions{Previous: true})},
		)
	}
	return items
}

// version returns the version of the host.
func (c *collector) version(ctx context.Context) ([]byte, error) {
	info, err := discovery.ToDiscoveryInterfaceWithContext(c.host.Client.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(info, "", "  ")
}

// values returns the settings that the user gave.
func (c *collector) values(ctx context.Context) ([]byte, error) {
	values, err := release.GivenValues(ctx, c.host, c.Name)
	if err != nil {
		return nil, err
	}
	chart, err := release.Chart()
	if err != nil {
		return nil, err
	}
	fixed := map[string]any{}
	if err := json.Unmarshal(chart.Schema, &fixed); err != nil {
		return nil, fmt.Errorf("cannot read the schema of the settings: %w", err)
	}
	return json.MarshalIndent(redactValues(values, chart.Values, fixed), "", "  ")
}

// log returns a function that returns the log of a pod.
func (c *collector) log(pod string, options corev1.PodLogOptions) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		options.Container, options.TailLines, options.Timestamps = release.ControlPlaneContainer, &c.tail, true
		stream, err := c.host.Client.CoreV1().Pods(c.Namespace).GetLogs(pod, &options).Stream(ctx)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(stream, maxLog))
		return []byte(redactText(string(data))), errors.Join(err, stream.Close())
	}
}

// encode redacts an object and encodes it.
func encode[T runtime.Object](object T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(redact(object))
	if err != nil {
		return nil, fmt.Errorf("cannot encode it: %w", err)
	}
	return json.MarshalIndent(content, "", "  ")
}
