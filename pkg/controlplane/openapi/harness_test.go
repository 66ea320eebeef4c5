package openapi

import (
	"io"
	"net/http"
	"testing/synctest"
	"time"
)

// sleepInBubble lets the time of a test's bubble pass, and what was due happen.
func sleepInBubble(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// copyBody writes the body of an answer.
func copyBody(to io.Writer, res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	_, err := io.Copy(to, res.Body)
	return err
}
