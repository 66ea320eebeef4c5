package hostlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// checkRoot refuses to try what only root can do.
func checkRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return errors.New("a local host needs root, for namespaces, cgroups and mounts: run as root, " +
		"or use --provider kind or --provider existing")
}

// InstallPackages installs with apt-get those of the packages that are missing.
func InstallPackages(ctx context.Context, wanted ...Package) error {
	missing := missingPackages(wanted)
	if len(missing) == 0 {
		return nil
	}
	hint := "apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks %s and has no apt-get; on Debian it would be: %s",
			strings.Join(missing, ", "), hint)
	}
	args := append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)
	if _, err := runForOutput(runApt(ctx, args...)); err == nil {
		return nil
	}
	// The lists of a fresh machine may be empty or old.
	if _, err := runForOutput(runApt(ctx, "update", "-qq")); err != nil {
		return fmt.Errorf("cannot refresh the package lists: %w", err)
	}
	if _, err := runForOutput(runApt(ctx, args...)); err != nil {
		return fmt.Errorf("cannot install packages; try `%s`: %w", hint, err)
	}
	if missing = missingPackages(wanted); len(missing) > 0 {
		return fmt.Errorf("still missing after `%s`: %s", hint, strings.Join(missing, ", "))
	}
	return nil
}

func missingPackages(wanted []Package) []string {
	var missing []string
	for _, p := range wanted {
		if _, err := os.Stat(p.File); err != nil {
			missing = append(missing, p.Name)
		}
	}
	return missing
}

func runApt(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "apt-get", args...)
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return command
}
