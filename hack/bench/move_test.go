package main

import "testing"

// TestTourOf checks that a tour has each pair of stores once, in both directions.
func TestTourOf(t *testing.T) {
	t.Parallel()
	for n := 2; n < 6; n++ {
		tour := tourOf(n)
		seen := map[[2]int]int{}
		for i, next := range tour[1:] {
			seen[[2]int{tour[i], next}]++
		}
		for i := range n {
			for j := range n {
				if i != j && seen[[2]int{i, j}] != 1 {
					t.Errorf("%d stores: the tour %v goes %d times from %d to %d, want once", n, tour, seen[[2]int{i, j}], i, j)
				}
			}
		}
		if tour[0] != 0 || tour[len(tour)-1] != 0 || len(tour) != n*(n-1)+1 {
			t.Errorf("%d stores: got the tour %v, want one from 0 to 0", n, tour)
		}
	}
}
