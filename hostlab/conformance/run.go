package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Options chooses the specs of a run.
type Options struct {
	// Focus is a regular expression for the names of specs. Default: all.
	Focus string
	// Skip is a regular expression for the names of specs that do not run. Default: none.
	Skip string
	// Serial runs the specs that tolerate no other at the same time, one after the other.
	Serial bool
	// Processes run specs at the same time. Default: 12.
	Processes int
	// Timeout of the whole run. Default: an hour.
	Timeout time.Duration
	// Kubectl is the kubectl that specs call.
	Kubectl string
	// Log receives what Ginkgo prints.
	Log io.Writer
}

// Run runs the chosen conformance specs against a target and returns what became of each.
// A spec that fails is no error.
func (s *Suite) Run(ctx context.Context, kubeconfig string, options Options) (Results, error) {
	folder, err := os.MkdirTemp(s.Dir, "run-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	command := exec.CommandContext(ctx, s.path("bin", "ginkgo"), s.arguments(folder, kubeconfig, options)...)
	command.Stdout, command.Stderr = options.Log, options.Log
	// Ginkgo ends its processes when it is interrupted, and writes its report.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	failure := command.Run()
	data, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err != nil {
		return nil, fmt.Errorf("the suite wrote no report: %w", errors.Join(failure, err))
	}
	results, err := parseReport(data)
	if err == nil && len(results) == 0 {
		err = errors.Join(errors.New("no spec ran"), failure)
	}
	return results, err
}

// arguments returns the arguments of Ginkgo's runner.
func (s *Suite) arguments(folder, kubeconfig string, options Options) []string {
	filter, processes := "Conformance && !Serial", options.Processes
	if processes == 0 {
		processes = 12
	}
	if options.Serial {
		filter, processes = "Conformance && Serial", 1
	}
	timeout := options.Timeout
	if timeout == 0 {
		timeout = time.Hour
	}
	args := []string{
		"--label-filter=" + filter, "--procs=" + strconv.Itoa(processes), "--timeout=" + timeout.String(),
		"--json-report=report.json", "--output-dir=" + folder, "--no-color", "--silence-skips", "--keep-going",
	}
	if options.Focus != "" {
		args = append(args, "--focus="+options.Focus)
	}
	if options.Skip != "" {
		args = append(args, "--skip="+options.Skip)
	}
	return append(args, s.path("bin", "e2e.test"), "--",
		"--kubeconfig="+kubeconfig, "--kubectl-path="+options.Kubectl, "--provider=skeleton", "--dump-logs-on-failure=false", "--e2e-output-dir="+folder)
}

// ginkgoReport is the part of Ginkgo's report that we read.
type ginkgoReport struct {
	SpecReports []struct {
		ContainerHierarchyTexts []string `json:"ContainerHierarchyTexts"`
		LeafNodeType            string   `json:"LeafNodeType"`
		LeafNodeText            string   `json:"LeafNodeText"`
		State                   string   `json:"State"`
		RunTime                 int64    `json:"RunTime"`
		Failure                 struct {
			Message string `json:"Message"`
		} `json:"Failure"`
	} `json:"SpecReports"`
}

// parseReport returns the results in Ginkgo's report, without the specs that were not
// chosen and those that the end of the run interrupted.
func parseReport(data []byte) (Results, error) {
	var reports []ginkgoReport
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("cannot read the report of the suite: %w", err)
	}
	results := Results{}
	for _, report := range reports {
		for _, spec := range report.SpecReports {
			// A skip with a message is the spec's own: it cannot run here.
			cutOff := strings.HasPrefix(spec.Failure.Message, "A suite timeout occurred")
			ran := !cutOff && spec.State != "pending" && spec.State != "interrupted" && spec.State != "aborted"
			if spec.LeafNodeType != "It" || !ran || spec.State == "skipped" && spec.Failure.Message == "" {
				continue
			}
			name := specName(spec.ContainerHierarchyTexts, spec.LeafNodeText)
			results[name] = Result{State: spec.State, Message: spec.Failure.Message, Seconds: float64(spec.RunTime) / float64(time.Second)}
		}
	}
	return results, nil
}
