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

// nodes measures a host with many nodes.
func (b *bench) nodes(ctx context.Context) error {
	if err := b.host.AddNodes(ctx, manyNodes-hostNodes); err != nil {
		return err
	}
	for range b.runs {
		if err := b.nodesAll(ctx); err != nil {
			return err
		}
	}
	if err := b.nodeLag(ctx); err != nil {
		return err
	}
	return b.rest(ctx, "nodes_anon", "nodes_idle_cpu")
}

// nodesAll measures how soon a new virtual cluster shows all nodes.
func (b *bench) nodesAll(ctx context.Context) error {
	p, err := b.launch(ctx)
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
	took := virtual.last(thereAt).Sub(p.Started())
	b.say("  all nodes after %.2f s", took.Seconds())
	b.add("nodes_all", took.Seconds())
	return nil
}

// nodeLag measures how long a change of a host node takes to the virtual one.
func (b *bench) nodeLag(ctx context.Context) error {
	p, err := b.launch(ctx)
	if err != nil {
		return err
	}
	defer p.Stop()
	for run := range b.runs {
		if err := b.nodeLagOnce(ctx, p, fmt.Sprintf("run-%d", run)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) nodeLagOnce(ctx context.Context, p *process, value string) error {
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
	label := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, lagLabel, value)
	written := map[string]time.Time{}
	pace := time.NewTicker(lagPause)
	defer pace.Stop()
	// Nodes from all over the list, one at a time.
	names := b.host.Nodes()
	for i := range lagWrites {
		<-pace.C
		name := names[i*len(names)/lagWrites]
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
	b.say("  node lag %.1f / %.1f ms", percentile(lags, 50), percentile(lags, 99))
	b.add("node_lag_p99", percentile(lags, 99))
	return nil
}

// followNodes watches the virtual nodes; one is done when it has the label.
func followNodes(ctx context.Context, p *process, value string) (*watcher, error) {
	nodes := p.client.CoreV1().Nodes()
	return follow(ctx, subject[*corev1.Node]{
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
