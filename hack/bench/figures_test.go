package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		values []float64
		want   float64
	}{
		{"one run", []float64{3}, 3},
		{"the middle one, whatever the order", []float64{9, 1, 5}, 5},
		{"the mean of the middle two", []float64{4, 1, 2, 100}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("%s: median(%v) = %v, want %v", c.reason, c.values, got, c.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = float64(i + 1)
	}
	for _, c := range []struct {
		reason string
		values []float64
		p      float64
		want   float64
	}{
		{"half of a hundred", hundred, 50, 50},
		{"all but the last of a hundred", hundred, 99, 99},
		{"the largest", hundred, 100, 100},
		{"a single value is every percentile", []float64{7}, 1, 7},
		{"of few values the highest is the 99th", []float64{1, 2, 3}, 99, 3},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("%s: percentile(%v) = %v, want %v", c.reason, c.p, got, c.want)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{0: "0.00", 0.517: "0.52", 12.34: "12.3", 141.7: "142", 1000: "1000"} {
		if got := format(value); got != want {
			t.Errorf("format(%v) = %s, want %s", value, got, want)
		}
	}
}

// TestFiguresAndGroups checks that each figure belongs to one group, and that each
// group measures known figures. The output would silently lack a figure that
// nobody measures.
func TestFiguresAndGroups(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, g := range groups() {
		for _, name := range g.figures {
			seen[name]++
		}
	}
	want := map[string]int{}
	for name := range figures() {
		want[name] = 1
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("figures and groups differ (-figures +groups):\n%s", diff)
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, run, figure string
		want                bool
	}{
		{"nothing asked for is all", "", "burst_ratio", true},
		{"by name", "image,burst_ratio", "burst_ratio", true},
		{"by prefix, with a space", "image, pod_", "pod_up_p99", true},
		{"not asked for", "pod_", "nodes_all", false},
	} {
		b := &bench{options: options{run: c.run}}
		if got := b.wanted(c.figure); got != c.want {
			t.Errorf("%s: -run %q wants %s = %v, want %v", c.reason, c.run, c.figure, got, c.want)
		}
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var out, progress bytes.Buffer
	b := &bench{progress: &progress, values: map[string][]float64{}}
	for _, value := range []float64{0.9, 1.26, 0.8} {
		b.add("start_ready", value)
	}
	b.add("start_first_pod", 2)
	b.print(&out, []string{"start_ready", "start_first_pod", "idle_anon"})

	if diff := cmp.Diff("bench start_ready 0.90 s\nbench start_first_pod 2.00 s\n", out.String()); diff != "" {
		t.Errorf("the output is for scripts (-want +got):\n%s", diff)
	}
	want := "  MISSED: start_first_pod is 2.00 s, the limit is 1.30; runs: 2.00\n"
	if diff := cmp.Diff(want, progress.String()); diff != "" {
		t.Errorf("only a missed limit is worth a word (-want +got):\n%s", diff)
	}
}
