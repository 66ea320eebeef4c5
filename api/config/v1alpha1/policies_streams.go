package v1alpha1

// Streams bounds the requests that are relayed to kubelets of the host.
type Streams struct {
	// Number of log, exec, attach and port-forward requests that may be open at once. Each is a
	// connection to the host's API server and to a kubelet. More are answered with 429. 0 means no
	// limit.
	// Default: 200
	Max int32 `json:"max" min:"0" max:"100000"`
}

func defaultStreams() Streams { return Streams{Max: 200} }
