package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Result is what became of one spec.
type Result struct {
	// State is passed, skipped, or a sort of failure.
	State string `json:"state"`
	// Message of a failure or of a skip.
	Message string `json:"message,omitempty"`
	// Seconds that the spec ran.
	Seconds float64 `json:"seconds"`
}

// passed is the state of a spec that held.
const passed = "passed"

// Results are the results of one target: name of a spec -> result.
type Results map[string]Result

// specName returns the whole name of a spec.
func specName(containers []string, leaf string) string {
	return strings.Join(append(slices.Clone(containers), leaf), " ")
}

// Load reads the results of a target that earlier runs have stored.
func (s *Suite) Load(target string) (Results, error) {
	results := Results{}
	data, err := os.ReadFile(s.path("results-" + target + ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return results, nil
	}
	if err != nil {
		return nil, err
	}
	return results, json.Unmarshal(data, &results)
}

// Store adds the results of a run to those of the target that earlier runs have stored.
func (s *Suite) Store(target string, run Results) error {
	results, err := s.Load(target)
	if err != nil {
		return err
	}
	maps.Copy(results, run)
	data, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("results-"+target+".json"), data, 0o644)
}

// count returns how many specs have each outcome.
func (r Results) count() (held, failed, skipped int) {
	for _, result := range r {
		switch result.State {
		case passed:
			held++
		case "skipped":
			skipped++
		default:
			failed++
		}
	}
	return held, failed, skipped
}

// WriteTable writes how many specs passed on each target, in groups by SIG, and every spec
// that did not pass on one of them.
func WriteTable(w io.Writer, host, virtual Results) error {
	var text strings.Builder
	text.WriteString("| SIG | host passes | virtual passes |\n|---|---|---|\n")
	sigs := map[string]bool{}
	for name := range allNames(host, virtual) {
		sigs[sigOf(name)] = true
	}
	for _, sig := range slices.Sorted(maps.Keys(sigs)) {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", sig, score(host, sig), score(virtual, sig))
	}
	fmt.Fprintf(&text, "| all | %s | %s |\n\n", score(host, ""), score(virtual, ""))
	for _, name := range slices.Sorted(maps.Keys(allNames(host, virtual))) {
		onHost, onVirtual := outcome(host, name), outcome(virtual, name)
		if onHost == passed && onVirtual == passed || onHost == notRun && onVirtual == passed || onHost == passed && onVirtual == notRun {
			continue
		}
		why := reason(name, virtual[name].Message, host[name].Message)
		text.WriteString(strings.TrimSpace(fmt.Sprintf("- %s\n  host: %s; virtual: %s. %s", shortName(name), onHost, onVirtual, why)) + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

const notRun = "not run"

func outcome(results Results, name string) string {
	if result, ok := results[name]; ok {
		return result.State
	}
	return notRun
}

func allNames(host, virtual Results) map[string]bool {
	names := map[string]bool{}
	for name := range host {
		names[name] = true
	}
	for name := range virtual {
		names[name] = true
	}
	return names
}

// score returns "passed of all" of the specs of a SIG, or of all SIGs.
func score(results Results, sig string) string {
	part := maps.Clone(results)
	maps.DeleteFunc(part, func(name string, _ Result) bool { return sig != "" && sigOf(name) != sig })
	held, failed, skipped := part.count()
	text := fmt.Sprintf("%d of %d", held, held+failed+skipped)
	if skipped > 0 {
		text += fmt.Sprintf(", %d skipped", skipped)
	}
	return text
}

// sigOf returns the SIG that owns a spec.
func sigOf(name string) string {
	sig, _, _ := strings.Cut(strings.TrimPrefix(name, "["), "]")
	return sig
}

// shortName returns the name of a spec without its labels.
func shortName(name string) string {
	return strings.Join(strings.Fields(regexp.MustCompile(`\[(Conformance|NodeConformance|LinuxOnly|Slow|Serial|Feature:[^\]]*)\]`).ReplaceAllString(name, "")), " ")
}

// reason returns why a spec did not pass: what is known, or the first line of the message.
func reason(name string, messages ...string) string {
	for part, known := range knownFailures() {
		if strings.Contains(name, part) {
			return known
		}
	}
	for _, message := range messages {
		if line, _, _ := strings.Cut(strings.TrimSpace(message), "\n"); line != "" {
			if runes := []rune(line); len(runes) > 200 {
				line = string(runes[:200]) + " …"
			}
			return line
		}
	}
	return ""
}
