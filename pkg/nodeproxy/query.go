package nodeproxy

import (
	"net/url"
	"strconv"
	"strings"
)

// toHostQuery translates a query for a kubelet to one for the host's API server. It
// passes only known options.
func (o operation) toHostQuery(kubelet url.Values, container string) url.Values {
	api := url.Values{}
	if o.container {
		api.Set("container", container)
	}
	o.copyQuery(kubelet, api)
	return api
}

// copyLogQuery copies the options of a log, which have the same names on both sides.
func copyLogQuery(kubelet, api url.Values) {
	for _, name := range []string{"follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes"} {
		if value := kubelet.Get(name); value != "" {
			api.Set(name, value)
		}
	}
	// "All" is the default. Older hosts reject the option.
	if value := kubelet.Get("stream"); value != "" && value != "All" {
		api.Set("stream", value)
	}
}

// copyExecQuery copies the command, and sets which streams are used.
func copyExecQuery(kubelet, api url.Values) {
	copyStreamQuery(kubelet, api)
	api["command"] = kubelet["command"]
}

// copyStreamQuery sets for each stream whether it is used. It sets false too: the
// host's API server has other defaults.
func copyStreamQuery(kubelet, api url.Values) {
	for name, kubeletName := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		api.Set(name, strconv.FormatBool(kubelet.Get(kubeletName) == "1"))
	}
}

// copyPortQuery copies the ports of the oldest WebSocket protocol, which sends them
// first. Others send none.
func copyPortQuery(kubelet, api url.Values) {
	for _, list := range kubelet["port"] {
		for port := range strings.SplitSeq(list, ",") {
			api.Add("ports", port)
		}
	}
}
