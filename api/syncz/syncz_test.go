package syncz

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPrintable prints a report with texts that a tenant has chosen.
func TestPrintable(t *testing.T) {
	t.Parallel()
	report := NewReport(
		Check{Name: "pods", Message: "Synced, 1 objects are retried.", Details: []string{
			"last error: denied\n[+] store: all is well", "\x1b]0;title\a\u009b31mred", "größer\tund \u202erückwärts",
		}},
		Check{Name: "host", Healthy: true},
	)
	want := Report{Checks: []Check{
		{Name: "pods", Message: "Synced, 1 objects are retried.", Details: []string{
			"last error: denied [+] store: all is well", "\ufffd]0;title\ufffd\ufffd31mred", "größer und \ufffdrückwärts",
		}},
		{Name: "host", Healthy: true},
	}}
	if diff := cmp.Diff(want, report.Printable()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
