package openapi

import "net/http"

// Aggregated knows the groups that other API servers serve and describe.
type Aggregated interface {
	// Paths returns the paths of their documents, as "apis/GROUP/VERSION".
	Paths() ([]string, error)
	// Find returns what serves the document of a path, nil if it is of no such group.
	Find(path string) (http.Handler, error)
}

// serveAggregated lets an aggregated API server answer. It returns false if none serves the group.
func (d *Description) serveAggregated(w http.ResponseWriter, req *http.Request, path string) bool {
	handler, err := d.aggregated.Find(path)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case handler != nil:
		handler.ServeHTTP(w, req)
	default:
		return false
	}
	return true
}
