package main

import (
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, stat string
		want         time.Duration
		fails        bool
	}{
		{
			reason: "utime and stime are the 14th and 15th field",
			stat:   "42 (sublet-server) S 1 42 42 0 -1 4194560 9 8 7 6 150 25 3 4 20 0 17 0 1 2 3",
			want:   1750 * time.Millisecond,
		},
		{
			reason: "a name may hold spaces and parentheses",
			stat:   "42 (a ) (b) S 1 42 42 0 -1 4194560 9 8 7 6 1 2 3 4 20",
			want:   30 * time.Millisecond,
		},
		{reason: "cut off", stat: "42 (a) S 1 42", fails: true},
		{reason: "not a number", stat: "42 (a) S 1 42 42 0 -1 4194560 9 8 7 6 x 2 3", fails: true},
	} {
		got, err := parseCPU(c.stat)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: parseCPU(%q) = %v, %v, want %v", c.reason, c.stat, got, err, c.want)
		}
	}
}

func TestParseAnon(t *testing.T) {
	t.Parallel()
	got, err := parseAnon([]byte("VmRSS:\t  300000 kB\nRssAnon:\t  125000 kB\nRssFile:\t  175000 kB\n"))
	if err != nil || got != 128 {
		t.Errorf("parseAnon = %v, %v, want 128 MB: 125000 KiB", got, err)
	}
	if _, err := parseAnon([]byte("VmRSS:\t  300000 kB\n")); err == nil {
		t.Error("parseAnon finds memory in a status without RssAnon")
	}
}
