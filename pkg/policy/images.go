package policy

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// imagesSetting is the key of the images that pods may use.
const imagesSetting = "policies.images.allowed"

// CheckImage returns what is wrong with an image, and the setting that can change that. Both are empty if
// the image is allowed. An ID is denied by no setting: it selects among what the node has, whoever has pulled
// it, and no pattern of names matches it.
func CheckImage(allowed []string, image string) (detail, setting string) {
	switch {
	case isImageID(image):
		return "not allowed, because an ID is any image that the node has; name the image, with its digest if need be", ""
	case image != "" && len(allowed) > 0 && !isAllowedImage(allowed, image):
		return "this image is not allowed; allowed: " + orNone(allowed), imagesSetting
	}
	return "", ""
}

// images returns the rule about the images of containers and image volumes.
func images(allowed []string) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		var violations []Violation
		check := func(field, image string) {
			if detail, setting := CheckImage(allowed, image); detail != "" {
				violations = append(violations, Violation{Field: field, Value: image, Detail: detail, Setting: setting})
			}
		}
		for _, container := range containers(spec) {
			check(container.path+".image", container.Image)
		}
		for i := range spec.Volumes {
			if image := spec.Volumes[i].Image; image != nil {
				check(at("spec.volumes", i)+".image.reference", image.Reference)
			}
		}
		return violations
	}
}

// isImageID reports whether runtimes read an image as the ID of one on the node, or as the
// beginning of an ID.
func isImageID(image string) bool {
	algorithm, _, _ := strings.Cut(image, ":")
	return algorithm == "sha256" || algorithm == "sha384" || algorithm == "sha512"
}

// isAllowedImage reports whether a pattern has the image. A pattern without * has all tags
// and digests of its image.
func isAllowedImage(allowed []string, image string) bool {
	full := fullImageName(image)
	return slices.ContainsFunc(allowed, func(pattern string) bool {
		_, ok := matchImage(pattern, full)
		return ok
	})
}

// fullImageName returns an image with its registry, as container runtimes complete it.
func fullImageName(image string) string {
	const hub = "docker.io"
	registry, path, hasPath := strings.Cut(image, "/")
	if !hasPath || !isRegistry(registry) {
		registry, path = hub, image
	}
	if registry == "index.docker.io" {
		registry = hub
	}
	if registry == hub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return registry + "/" + path
}

// isRegistry reports whether the first part of an image is a registry. A name in upper case
// is one: it cannot be a repository.
func isRegistry(part string) bool {
	return part == "localhost" || strings.ContainsAny(part, ".:") || strings.ToLower(part) != part
}
