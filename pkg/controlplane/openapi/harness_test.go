package openapi

import (
	"io"
	"net/http"
	"testing/synctest"
	"time"
)

// outliveDocument lets the time pass in a test's bubble for which a document stays in memory.
func outliveDocument() {
	<-time.After(keepDocument)
	synctest.Wait()
}

// copyBody writes the body of an answer.
func copyBody(to io.Writer, res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	_, err := io.Copy(to, res.Body)
	return err
}
