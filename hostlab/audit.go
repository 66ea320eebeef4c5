package hostlab

// auditPolicy records the requests of service accounts outside of kube-system, without their
// bodies: tests compare what an account did with what its Role allows.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
`

// auditLog is the name of the audit log in the folder of a local host, next to its kubeconfig.
// The end-to-end tests read it.
const auditLog = "audit.log"

// auditFlags returns the flags of an API server that writes the audit log. A whole run of the
// end-to-end tests writes more than 100 MiB, so older parts of the log are kept next to it.
func (l *local) auditFlags() ([]string, error) {
	file := l.path("run", "audit-policy.yaml")
	return []string{
		"--audit-policy-file=" + file, "--audit-log-path=" + l.path(auditLog), "--audit-log-mode=batch",
		"--audit-log-maxsize=200", "--audit-log-maxbackup=5",
	}, writeChanged(file, []byte(auditPolicy))
}
