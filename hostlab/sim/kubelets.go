package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/yaml"
)

// Marks of a simulated node, as KWOK writes them. Charts and schedulers keep
// real work off such nodes by them.
const (
	fakeAnnotation = "kwok.x-k8s.io/node"
	fakeValue      = "fake"
	typeLabel      = "type"
	typeValue      = "kwok"
)

// stagePlayers is how many pods KWOK moves on at the same time.
const stagePlayers = 8

// runKubelets starts KWOK for all nodes marked as simulated. Its fast stages do not wait: a
// bound pod is Running at once, and a deleted one is gone at once.
func (h *Host) runKubelets(ctx context.Context) error {
	if err := fillTypeTables(); err != nil {
		return err
	}
	stages, err := readStages(nodefast.DefaultNodeInit, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete)
	if err != nil {
		return err
	}
	dynamicClient, err := dynamic.NewForConfig(h.Config())
	if err != nil {
		return fmt.Errorf("cannot create a client for the simulated nodes: %w", err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)

	kwok, err := controllers.NewController(controllers.Config{
		Clock:                             clock.RealClock{},
		DynamicClient:                     dynamicClient,
		RESTMapper:                        mapper,
		TypedClient:                       h.client,
		ManageNodesWithAnnotationSelector: fakeAnnotation + "=" + fakeValue,
		CIDR:                              "10.0.0.1/24",
		NodeIP:                            "172.16.0.1",
		LocalStages:                       stages,
		PodPlayStageParallelism:           stagePlayers,
		NodePlayStageParallelism:          stagePlayers,
		PodsOnNodeSyncParallelism:         stagePlayers,
		ID:                                "sim",
	})
	if err != nil {
		return fmt.Errorf("cannot create the simulated kubelets: %w", err)
	}
	// KWOK logs each patch of each pod, which nobody reads here.
	ctx = log.NewContext(ctx, log.NewLogger(nil, log.LevelError))
	if err := kwok.Start(ctx); err != nil {
		return fmt.Errorf("cannot start the simulated kubelets: %w", err)
	}
	if h.options.Heartbeat > 0 {
		h.parts.Go(func() { h.sendHeartbeats(ctx) })
	}
	return nil
}

// readStages reads KWOK's stages from their YAML, by the kind they are for.
func readStages(documents ...string) (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	all := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, document := range documents {
		var versioned v1alpha1.Stage
		if err := yaml.UnmarshalStrict([]byte(document), &versioned); err != nil {
			return nil, fmt.Errorf("cannot read a stage of the simulated kubelets: %w", err)
		}
		v1alpha1.SetObjectDefaults_Stage(&versioned)
		stage, err := internalversion.ConvertToInternalStage(&versioned)
		if err != nil {
			return nil, fmt.Errorf("cannot convert stage %s of the simulated kubelets: %w", versioned.Name, err)
		}
		all[stage.Spec.ResourceRef] = append(all[stage.Spec.ResourceRef], stage)
	}
	return all, nil
}

// sendHeartbeats writes the status of one node after the other, each once per heartbeat
// and evenly spread. Nothing but the time of the heartbeat changes, as with a real node
// whose conditions stay the same. Leases are left out, as no controller of the host reads them.
func (h *Host) sendHeartbeats(ctx context.Context) {
	for next := 0; ; next++ {
		names := h.Nodes()
		pause := time.Second
		if len(names) > 0 {
			pause = h.options.Heartbeat / time.Duration(len(names))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if len(names) > 0 {
			// A node that has just been deleted gets no heartbeat.
			_ = h.sendHeartbeat(ctx, names[next%len(names)], time.Now())
		}
	}
}

// sendHeartbeat writes the time of a heartbeat into the conditions of a node.
func (h *Host) sendHeartbeat(ctx context.Context, name string, now time.Time) error {
	type condition struct {
		Type              corev1.NodeConditionType `json:"type"`
		LastHeartbeatTime metav1.Time              `json:"lastHeartbeatTime"`
	}
	conditions := []condition{}
	for _, c := range nodeConditions(metav1.NewTime(now)) {
		conditions = append(conditions, condition{c.Type, c.LastHeartbeatTime})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions}})
	if err != nil {
		return fmt.Errorf("cannot write the heartbeat of node %s: %w", name, err)
	}
	_, err = h.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
