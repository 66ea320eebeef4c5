package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// lagLabel is the label that is set on host nodes to see it arrive.
const lagLabel = "bench.example.com/lag"

// measureNodes measures a host with many nodes.
func (b *bench) measureNodes(ctx context.Context) error {
	if err := b.host.AddNodes(ctx, manyNodes-hostNodes); err != nil {
		return err
	}
	for range b.runs {
		if err := b.nodesAll(ctx); err != nil {
			return err
		}
	}
	if err := b.nodeLag(ctx, "node_lag_p99", nil, nil); err != nil {
		return err
	}
	if err := b.nodeLag(ctx, "node_lag_overlaid_p99", withScheduler(), overlayNodes); err != nil {
		return err
	}
	return b.measureAtRest(ctx, "nodes_anon", "nodes_idle_cpu", nil)
}

// nodesAll measures how soon a new virtual cluster shows all nodes.
func (b *bench) nodesAll(ctx context.Context) error {
	p, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer p.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	virtual, err := followNodes(ctx, p, "")
	if err != nil {
		return err
	}
	there := func(sighting) bool { return true }
	if err := virtual.wait(ctx, manyNodes, "virtual nodes are there", there); err != nil {
		return err
	}
	took := virtual.latest(thereAt).Sub(p.Started())
	b.progressf("  all nodes after %.2f s", took.Seconds())
	b.add("nodes_all", took.Seconds())
	return nil
}

// nodeLag measures how long a change of a host node takes to reach the virtual
// one. values are those of the chart; change changes nodes as the tenant.
func (b *bench) nodeLag(ctx context.Context, figure string, values map[string]any, change func(context.Context, *process, []string) error) error {
	p, err := b.launchWith(ctx, values)
	if err != nil {
		return err
	}
	defer p.Stop()
	names := lagNodes(b.host.Nodes())
	for run := range b.runs {
		if err := b.nodeLagOnce(ctx, p, names, figure, fmt.Sprintf("%s-%d", figure, run), change); err != nil {
			return err
		}
		change = nil // What a tenant has changed stays.
	}
	return nil
}

// lagNodes returns nodes from all over the list.
func lagNodes(all []string) []string {
	names := make([]string, lagWrites)
	for i := range names {
		names[i] = all[i*len(all)/lagWrites]
	}
	return names
}

// overlayNodes changes nodes as the tenant: cordon, taint, label and annotation.
func overlayNodes(ctx context.Context, p *process, names []string) error {
	patch := []byte(`{"metadata": {"labels": {"example.com/mine": "x"}, "annotations": {"example.com/mine": "x"}},
		"spec": {"unschedulable": true, "taints": [{"key": "example.com/mine", "value": "x", "effect": "NoSchedule"}]}}`)
	for _, name := range names {
		if _, err := p.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("cannot change virtual node %s as its tenant: %w", name, err)
		}
	}
	return nil
}

func (b *bench) nodeLagOnce(ctx context.Context, p *process, names []string, figure, value string, change func(context.Context, *process, []string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	virtual, err := followNodes(ctx, p, value)
	if err != nil {
		return err
	}
	there := func(sighting) bool { return true }
	if err := virtual.wait(ctx, manyNodes, "virtual nodes are there", there); err != nil {
		return err
	}
	if change != nil {
		if err := change(ctx, p, names); err != nil {
			return err
		}
	}
	label := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, lagLabel, value)
	written := map[string]time.Time{}
	pace := time.NewTicker(lagPause)
	defer pace.Stop()
	for _, name := range names { // one at a time
		<-pace.C
		written[name] = time.Now()
		_, err := b.host.Client().CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, label, metav1.PatchOptions{})
		if err != nil {
			return fmt.Errorf("cannot label host node %s: %w", name, err)
		}
	}
	if err := virtual.wait(ctx, lagWrites, "virtual nodes have the label", isDone); err != nil {
		return err
	}
	var lags []float64
	for name, s := range virtual.all() {
		if at, ok := written[name]; ok {
			lags = append(lags, milliseconds(s.done.Sub(at)))
		}
	}
	b.progressf("  %s: p50 %.1f, p99 %.1f ms", figure, percentile(lags, 50), percentile(lags, 99))
	b.add(figure, percentile(lags, 99))
	return nil
}

// followNodes watches the virtual nodes; one is done when it has the label.
func followNodes(ctx context.Context, p *process, value string) (*watcher, error) {
	nodes := p.client.CoreV1().Nodes()
	return startWatcher(ctx, subject[*corev1.Node]{
		list: func(ctx context.Context) ([]*corev1.Node, string, error) {
			list, err := nodes.List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, "", err
			}
			return pointers(list.Items), list.ResourceVersion, nil
		},
		watch: nodes.Watch,
		name:  func(node *corev1.Node) string { return node.Name },
		done:  func(node *corev1.Node) bool { return value != "" && node.Labels[lagLabel] == value },
	})
}
