package kubeletmetrics

import (
	"context"
	"net/http"
	"time"

	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/recent"
)

const (
	// keepAnswer is how long one answer of a kubelet serves all requests. A kubelet measures
	// every 10 seconds or so.
	keepAnswer = 5 * time.Second
	// askTimeout bounds a request to a kubelet. It does not depend on who asked first.
	askTimeout = 15 * time.Second
	// maxAsked is how many kubelets are asked at once.
	maxAsked = 4
)

// answer is what the tenant gets of a kubelet.
type answer struct {
	contentType string
	body        []byte
	failure     *failure // nil if there is a body
}

// answers has what kubelets answered lately, failures too. So no tenant can flood a kubelet that
// does not answer.
type answers struct {
	recent *recent.Answers[query, *answer]
	slots  chan struct{} // has an element for each kubelet that is asked
}

// newAnswers creates an empty set of answers.
func newAnswers(c clock.WithDelayedExecution) *answers {
	return &answers{recent: recent.NewAnswers[query, *answer](keepAnswer, c), slots: make(chan struct{}, maxAsked)}
}

// get returns the answer to a query, not older than keepAnswer. It returns an error if
// ctx ends or ask panics.
func (s *answers) get(ctx context.Context, q query, ask func(context.Context) *answer) (*answer, error) {
	q.port = "" // It makes no difference.
	return s.recent.Get(ctx, q, func(ctx context.Context) *answer { return s.queryWhenFree(ctx, ask) })
}

// queryWhenFree asks a kubelet once a slot is free.
func (s *answers) queryWhenFree(ctx context.Context, ask func(context.Context) *answer) *answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case <-ctx.Done():
		return &answer{failure: &failure{http.StatusTooManyRequests, "too many kubelets are asked for metrics at once: try again later"}}
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		return ask(ctx)
	}
}
