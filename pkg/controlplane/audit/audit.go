// Package audit records the requests to the virtual API server, with the policy and the
// backends of the kube-apiserver.
package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/apis/audit/install"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/apis/audit/validation"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	retry "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

const (
	// setting is the path of the settings.
	setting = "controlPlane.advanced.audit"
	// maxEvent and maxBatch are upstream's limits of what a webhook gets, in bytes.
	maxEvent = 100 << 10
	maxBatch = 10 << 20
	// buffer is how many events wait for the webhook. Further ones are dropped and counted.
	buffer = 2000
	// firstRetry is when a batch is sent again that the webhook did not take.
	firstRetry = time.Second
)

// Options are where events go.
type Options struct {
	Settings v1alpha1.Audit
	// Out gets a line of JSON for each event.
	Out io.Writer
	// Kubeconfig is the file that leads to the webhook, empty for none.
	Kubeconfig string
}

// New returns the backend of events and what selects them. Both are nil if nothing is recorded.
func New(options Options) (audit.Backend, audit.PolicyRuleEvaluator, error) {
	if !options.Settings.Enabled {
		return nil, nil, nil
	}
	rules, problems := parse(options.Settings)
	if len(problems) > 0 {
		return nil, nil, problems.ToAggregate()
	}
	var backends []audit.Backend
	if options.Settings.Log.Enabled {
		backends = append(backends, auditlog.NewBackend(options.Out, auditlog.FormatJson, auditv1.SchemeGroupVersion))
	}
	if options.Kubeconfig != "" {
		sender, err := webhook.NewBackend(options.Kubeconfig, auditv1.SchemeGroupVersion, retry.DefaultRetryBackoffWithInitialDelay(firstRetry), nil)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot use the kubeconfig of %s.webhook.secret: %w", setting, err)
		}
		sender = truncate.NewBackend(sender, truncate.Config{MaxEventSize: maxEvent, MaxBatchSize: maxBatch}, auditv1.SchemeGroupVersion)
		backends = append(backends, buffered.NewBackend(sender, buffered.BatchConfig{
			BufferSize: buffer, MaxBatchSize: 400, MaxBatchWait: 5 * time.Second,
			ThrottleEnable: true, ThrottleQPS: 10, ThrottleBurst: 15, AsyncDelegate: true,
		}))
	}
	return audit.Union(backends...), policy.NewPolicyRuleEvaluator(rules), nil
}

// Check returns all that is wrong with the policy.
func Check(settings v1alpha1.Audit) error {
	_, problems := parse(settings)
	return problems.ToAggregate()
}

// parse returns the policy as the API's own type, and all that is wrong with it.
func parse(settings v1alpha1.Audit) (*auditinternal.Policy, field.ErrorList) {
	path := field.NewPath(setting, "policy")
	data, err := json.Marshal(settings.Policy)
	if err != nil {
		return nil, field.ErrorList{field.InternalError(path, err)}
	}
	var versioned auditv1.Policy
	if err := json.Unmarshal(data, &versioned); err != nil {
		return nil, field.ErrorList{field.InternalError(path, err)}
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	scheme.Default(&versioned)
	rules := &auditinternal.Policy{}
	if err := scheme.Convert(&versioned, rules, nil); err != nil {
		return nil, field.ErrorList{field.InternalError(path, err)}
	}
	problems := validation.ValidatePolicy(rules)
	for _, problem := range problems {
		problem.Field = path.String() + "." + problem.Field
	}
	slices.SortFunc(problems, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	return rules, problems
}
