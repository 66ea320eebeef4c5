package nodeproxy

import (
	"net/url"
	"strconv"
	"strings"
)

// query translates what the API server asks a kubelet for into what the host's
// API is asked for. Only what is known is passed on.
func (o operation) query(kubelet url.Values, container string) url.Values {
	api := url.Values{}
	if o.container {
		api.Set("container", container)
	}
	switch o.name {
	case "containerLogs":
		logQuery(kubelet, api)
	case "exec":
		streamQuery(kubelet, api)
		api["command"] = kubelet["command"]
	case "attach":
		streamQuery(kubelet, api)
	case "portForward":
		portQuery(kubelet, api)
	}
	return api
}

// logQuery copies the options of a log, which bear the same names on both sides.
func logQuery(kubelet, api url.Values) {
	for _, name := range []string{"follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes"} {
		if value := kubelet.Get(name); value != "" {
			api.Set(name, value)
		}
	}
	// "All" is the default. Saying it would make hosts refuse the request that
	// know no other.
	if value := kubelet.Get("stream"); value != "" && value != "All" {
		api.Set("stream", value)
	}
}

// streamQuery says which streams are wanted. Those that are not are named too:
// left out, the host's API would take its defaults for them.
func streamQuery(kubelet, api url.Values) {
	for name, kubeletName := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		api.Set(name, strconv.FormatBool(kubelet.Get(kubeletName) == "1"))
	}
}

// portQuery lists the ports of the oldest WebSocket protocol, which sends them
// ahead. Others send none.
func portQuery(kubelet, api url.Values) {
	for _, list := range kubelet["port"] {
		for port := range strings.SplitSeq(list, ",") {
			api.Add("ports", port)
		}
	}
}
