package policy

import "strings"

// TranslateImage returns a function that returns the image which the host pulls for one of
// the tenant. Each rule replaces the beginning of full names. It is for a whole name
// without tag and digest, unless it ends with *. The longest one counts. Images without a
// rule stay as they are. It returns nil without rules.
func TranslateImage(rules map[string]string) func(image string) string {
	if len(rules) == 0 {
		return nil
	}
	return func(image string) string {
		if image == "" || isImageID(image) {
			return image
		}
		full, longest, translated := fullImageName(image), -1, image
		for pattern, to := range rules {
			rest, ok := matchImage(pattern, full)
			if size := len(strings.TrimSuffix(pattern, "*")); ok && size > longest {
				longest, translated = size, to+rest
			}
		}
		return translated
	}
}

// matchImage reports whether a pattern has the image with that full name, and returns what
// follows the pattern.
func matchImage(pattern, full string) (rest string, ok bool) {
	if prefix, isPrefix := strings.CutSuffix(pattern, "*"); isPrefix {
		return strings.CutPrefix(full, prefix)
	}
	rest, ok = strings.CutPrefix(full, pattern)
	return rest, ok && (rest == "" || rest[0] == ':' || rest[0] == '@')
}
