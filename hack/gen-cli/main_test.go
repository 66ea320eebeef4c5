package main

import (
	"strings"
	"testing"
)

// TestUpToDate checks that the files of the repository are those that the commands give.
func TestUpToDate(t *testing.T) {
	t.Parallel()
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

// TestStable checks that no file has a name of this machine or of this day.
func TestStable(t *testing.T) {
	t.Parallel()
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if strings.Contains(string(content), "/home/") || strings.Contains(string(content), "/root/") {
			t.Errorf("%s has the home of whoever generates it", name)
		}
	}
}
