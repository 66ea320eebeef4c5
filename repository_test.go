package sublet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNoBinaries fails for a file of the repository that is no text or larger than 512 KiB. A built program or an archive
// stays in every clone for good.
func TestNoBinaries(t *testing.T) {
	t.Parallel()
	listed, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("cannot list the files of the repository, which needs git and a clone: %v", err)
	}
	for path := range strings.SplitSeq(strings.TrimRight(string(listed), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Clean(path))
		switch {
		case os.IsNotExist(err):
		case err != nil:
			t.Error(err)
		case len(content) > 512<<10:
			t.Errorf("%s: %d KiB, more than 512 KiB", path, len(content)>>10)
		case bytes.IndexByte(content, 0) >= 0:
			t.Errorf("%s: is no text", path)
		}
	}
}

// TestModuleIsInstallable fails for a line of go.mod with which `go install PACKAGE@VERSION` refuses the module.
func TestModuleIsInstallable(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^(replace|exclude)\b.*`).FindAllString(string(content), -1) {
		t.Errorf("go.mod: %q; require a published version instead", line)
	}
}
