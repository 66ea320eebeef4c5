package virtualscheduler

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/pkg/scheduler"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
)

// Options configure a scheduler.
type Options struct {
	// Virtual is how to reach the API server of the virtual cluster. No default.
	Virtual *rest.Config
	// Informers returns the informers of the process, which the scheduler shares. Run
	// calls it once. Default: informers of the scheduler's own.
	Informers func() informers.SharedInformerFactory
	// Config is a KubeSchedulerConfiguration as text. Default: kube-scheduler's own.
	Config string
	// HostSchedulers are the names of schedulers whose pods are left to the host. No
	// profile may have one of them.
	HostSchedulers []string
	// ProposalChanged is called when the result of [Scheduler.Proposed] for a pod has changed,
	// so that the syncer asks the host. Default: every proposal is written into the pod.
	ProposalChanged func(pod types.NamespacedName)
	// Clock is the time. Default: the real one.
	Clock clock.WithDelayedExecution
}

// Scheduler is the kube-scheduler of a virtual cluster.
type Scheduler struct {
	options Options
	config  *schedulerconfig.KubeSchedulerConfiguration
	client  kubernetes.Interface
	memory  *memoryProposals // nil if every proposal is written
	panics  *attemptPanics
}

// New returns a scheduler. It sends no request before Run. An error names the path
// in Options.Config that is wrong.
func New(options Options) (*Scheduler, error) {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	config, err := loadConfig(options.Config, options.HostSchedulers)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(options.Virtual)
	if err != nil {
		return nil, fmt.Errorf("cannot create a client of the virtual cluster: %w", err)
	}
	s := &Scheduler{options: options, config: config, client: client, panics: newAttemptPanics()}
	if options.ProposalChanged != nil {
		s.memory = newMemoryProposals(options.ProposalChanged)
	}
	return s, nil
}

// Proposed returns the node that is proposed to the host for a virtual pod and not
// written in the pod, empty if there is none.
func (s *Scheduler) Proposed(pod types.UID) string {
	if s.memory == nil {
		return ""
	}
	return s.memory.proposed(pod)
}

// Checks returns the health of the scheduler.
func (s *Scheduler) Checks() []syncz.Check { return []syncz.Check{s.panics.check()} }

// Run schedules until ctx ends. It fails if the profiles cannot be created, as with
// a plugin that does not exist.
func (s *Scheduler) Run(ctx context.Context) error {
	factory, stop := s.informers()
	defer stop()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.client.EventsV1()})
	defer broadcaster.Shutdown()
	sched, err := s.build(ctx, factory, profile.NewRecorderFactory(broadcaster))
	if err != nil {
		return fmt.Errorf("cannot create the virtual scheduler: %w", err)
	}
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("cannot record the virtual scheduler's events: %w", err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if err := sched.WaitForHandlersSync(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	sched.Run(ctx)
	return nil
}

// informers returns the informers to watch with, and a function that stops them.
func (s *Scheduler) informers() (factory informers.SharedInformerFactory, stop func()) {
	if s.options.Informers == nil {
		own := scheduler.NewInformerFactory(s.client, 0, nil)
		return own, own.Shutdown
	}
	return &sharedInformers{s.options.Informers()}, func() {}
}

// build returns the kube-scheduler with the plugin.
func (s *Scheduler) build(ctx context.Context, factory informers.SharedInformerFactory, recorders profile.RecorderFactory) (*scheduler.Scheduler, error) {
	backoff := newNodeBackoff(s.options.Clock)
	common := &shared{
		client: s.client, clock: s.options.Clock, backoff: backoff, waiters: newPodWaiters(backoff), memory: s.memory,
		pods: factory.Core().V1().Pods().Lister(), claims: factory.Core().V1().PersistentVolumeClaims().Lister(),
	}
	common.waiters.panics = s.panics
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(common.waiters.podHandler()); err != nil {
		return nil, err
	}
	if _, err := factory.Core().V1().Nodes().Informer().AddEventHandler(common.waiters.nodeHandler()); err != nil {
		return nil, err
	}
	return scheduler.New(ctx, s.client, factory, nil, recorders,
		scheduler.WithKubeConfig(s.options.Virtual),
		scheduler.WithComponentConfigVersion(s.config.APIVersion),
		scheduler.WithProfiles(s.config.Profiles...),
		scheduler.WithPercentageOfNodesToScore(s.config.PercentageOfNodesToScore),
		scheduler.WithPodInitialBackoffSeconds(s.config.PodInitialBackoffSeconds),
		scheduler.WithPodMaxBackoffSeconds(s.config.PodMaxBackoffSeconds),
		scheduler.WithParallelism(s.config.Parallelism),
		scheduler.WithExtenders(s.config.Extenders...),
		scheduler.WithFrameworkOutOfTreeRegistry(frameworkruntime.Registry{pluginName: common.factory()}),
	)
}

// ignoreEnd returns err, or nil if ctx has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // see above
	}
	return err
}
