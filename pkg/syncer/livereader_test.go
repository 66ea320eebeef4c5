package syncer

import (
	"context"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// onePodPages is a client of a list with one pod per page. Each pod has the number of its page as name.
type onePodPages struct {
	client.Client
	pages  int
	limits []int64 // of the requests
}

// List implements client.Reader.
func (p *onePodPages) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(options)
	p.limits = append(p.limits, asked.Limit)
	page, _ := strconv.Atoi(asked.Continue)
	pods, ok := list.(*corev1.PodList)
	if !ok {
		return nil
	}
	pods.Items = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(page)}}}
	if page+1 < p.pages {
		pods.Continue = strconv.Itoa(page + 1)
	}
	return nil
}

// TestLiveListEndsWithWhatWasAskedFor checks that a look for one object does not read all of a namespace.
func TestLiveListEndsWithWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ found, pages int }{"1": {1, 2}, "none": {0, 4}} {
		paged := &onePodPages{pages: 4}
		reader := &liveReader{side: Virtual, client: paged, indexes: []Index{{
			Side: Virtual, Object: &corev1.Pod{}, Field: "name", Values: func(o client.Object) []string { return []string{o.GetName()} },
		}}}
		var pods corev1.PodList
		err := reader.List(t.Context(), &pods, client.MatchingFields{"name": name}, client.Limit(1))
		if err != nil || len(pods.Items) != want.found || len(paged.limits) != want.pages || paged.limits[0] != livePageSize {
			t.Errorf("%s: %d pods by requests with limits %v, %v", name, len(pods.Items), paged.limits, err)
		}
	}
}
