package kubeletmetrics

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"
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

// answers has what kubelets answered lately. Requests that come at once, or within
// keepAnswer, share one request to the kubelet. A failure is shared too, so that no tenant
// can flood a kubelet that does not answer.
type answers struct {
	clock    clock.WithDelayedExecution
	requests singleflight.Group
	slots    chan struct{} // has an element for each kubelet that is asked

	mu   sync.Mutex
	kept map[query]*answer
}

// newAnswers creates an empty set of answers.
func newAnswers(c clock.WithDelayedExecution) *answers {
	return &answers{clock: c, slots: make(chan struct{}, maxAsked), kept: map[query]*answer{}}
}

// get returns the answer to a query, not older than keepAnswer. It returns an error only if
// ctx ends.
func (s *answers) get(ctx context.Context, q query, ask func(context.Context) *answer) (*answer, error) {
	q.port = "" // it makes no difference
	if kept := s.find(q); kept != nil {
		return kept, nil
	}
	// The request must not end because the first of those who wait for it leaves.
	shared := context.WithoutCancel(ctx)
	result := s.requests.DoChan(fmt.Sprint(q), func() (any, error) {
		if kept := s.find(q); kept != nil {
			return kept, nil
		}
		fresh := s.ask(shared, ask)
		s.keep(q, fresh)
		return fresh, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-result:
		fresh, _ := r.Val.(*answer)
		return fresh, nil
	}
}

// ask asks a kubelet once a slot is free.
func (s *answers) ask(ctx context.Context, ask func(context.Context) *answer) *answer {
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

// find returns the answer to a query, or nil if there is none.
func (s *answers) find(q query) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[q]
}

// keep stores an answer for keepAnswer.
func (s *answers) keep(q query, a *answer) {
	s.mu.Lock()
	s.kept[q] = a
	s.mu.Unlock()
	s.clock.AfterFunc(keepAnswer, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.kept[q] == a {
			delete(s.kept, q)
		}
	})
}
