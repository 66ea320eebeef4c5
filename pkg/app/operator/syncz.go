package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/sublet-dev/sublet/api/syncz"
)

// Syncz returns a handler that serves a report as text, or as JSON with the query format=json.
// The status is 200 if everything is healthy, else 503.
func Syncz(report func() syncz.Report) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		current := report()
		body, contentType := []byte(formatReport(current)), "text/plain; charset=utf-8"
		if r.URL.Query().Get("format") == "json" {
			encoded, err := json.MarshalIndent(current, "", "  ")
			if err != nil {
				http.Error(w, "cannot encode the report", http.StatusInternalServerError)
				return
			}
			body, contentType = encoded, "application/json"
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !current.Healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(body)
	})
}

// formatReport returns a report as lines of text.
func formatReport(report syncz.Report) string {
	var text strings.Builder
	for _, check := range report.Printable().Checks {
		mark := "+"
		if !check.Healthy {
			mark = "-"
		}
		fmt.Fprintf(&text, "[%s] %s: %s\n", mark, check.Name, check.Message)
		for _, line := range check.Details {
			fmt.Fprintf(&text, "    %s\n", line)
		}
	}
	return text.String()
}

// discardLog returns a logger for connection errors, which discards them. Unauthenticated
// clients cause them and could fill the log.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
