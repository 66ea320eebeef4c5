package custom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// confinePodMetadata confines the metadata of pods that a controller of the host makes. They get the labels of
// the tenant under their host keys, and the label that the network policies of the release select. They get no
// label and no annotation by which the engine knows a copy, so that it never takes such a pod for one.
func (w *walk) confinePodMetadata(value any, path string, set func(any)) {
	metadata, ok := value.(map[string]any)
	if !ok {
		w.deny(path, value, "must be the metadata of pods")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if key != "labels" && !isEmpty(metadata[key]) {
			w.deny(join(path, key), metadata[key], "must be left out, as such pods get labels alone")
		}
	}
	tenant := w.podLabels(metadata["labels"], join(path, "labels"))
	if w.purpose != renameToHost {
		return
	}
	host := map[string]any{}
	for key, value := range translate.SyncLabels(map[string]string{labels.Release: w.cluster.Name}, tenant) {
		host[key] = value
	}
	set(map[string]any{"labels": host})
}

// podLabels returns the labels in the metadata of pods. It denies what the host would refuse as labels.
func (w *walk) podLabels(value any, path string) map[string]string {
	object, ok := value.(map[string]any)
	if !ok && value != nil {
		w.deny(path, value, "must be a map of labels")
	}
	tenant := make(map[string]string, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		text, isText := object[key].(string)
		if wrong := validation.IsValidLabelValue(text); !isText || len(wrong) > 0 {
			w.deny(path+"["+key+"]", object[key], strings.Join(append([]string{"must be the value of a label"}, wrong...), ": "))
			continue
		}
		tenant[key] = text
	}
	return tenant
}

// checkGracePeriod denies pods that take longer to end than they may. They delay a drain of their node.
func (w *walk) checkGracePeriod(value any, path string) {
	if seconds, ok := value.(int64); !ok || seconds < 0 || seconds > w.plan.maxGrace {
		w.denyBySetting("policies.pods.maxGracePeriodSeconds", path, value, fmt.Sprintf("must be a number of seconds, at most %d", w.plan.maxGrace))
	}
}

// hostImage returns the image that the host pulls for one of the tenant. It denies one that the tenant may
// not use.
func (w *walk) hostImage(image, path string) string {
	images := w.plan.images
	detail, setting := "no image is allowed", ""
	if images.Deny != nil {
		detail, setting = images.Deny(image)
	}
	if detail != "" {
		w.denyBySetting(setting, path, image, detail)
	}
	if images.Translate == nil {
		return image
	}
	return images.Translate(image)
}

// setPullPolicy sets the pull policy next to an image, if the operator requests that. Otherwise a pod could use
// a private image that another pod has pulled to the node.
func (w *walk) setPullPolicy(n *node, object map[string]any, key string) {
	if n.rule == ruleImage && object[key] != nil && w.purpose == renameToHost && w.plan.images.AlwaysPull {
		object[pullPolicy] = "Always"
	}
}
