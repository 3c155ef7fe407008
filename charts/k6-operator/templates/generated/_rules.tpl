{{- /* Generated from manifests/ by `make manifests`. */}}
{{- define "k6-operator.rules.manager" -}}
# The tests that were asked for; deleted only as their own cleanup or
# ttlSecondsAfterFinished says.
- apiGroups: [k6.io]
  resources: [k6s, testruns]
  verbs: [get, list, watch, delete]
# Where each test's progress is kept.
- apiGroups: [k6.io]
  resources: [k6s/status, testruns/status]
  verbs: [get, update]
# To be their children's owner, where the cluster enforces that (OpenShift).
- apiGroups: [k6.io]
  resources: [k6s/finalizers, testruns/finalizers]
  verbs: [update]
# Runners, and all that starts, stops and measures them.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Their pods: where they run, whether they are ready, why they fail.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Where the runners bring their metrics.
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]
# The test script, which script.inline puts into a ConfigMap, and the summary.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create]
# By what the pods of a run know each other. Once made it is only theirs.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# Whether all nodes can mount the operator's image as a volume. In a Role this gives
# nothing, and an operator with Roles only does not ask.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
# What `kubectl describe k6` shows, and why a pod was not created or
# scheduled.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
{{- define "k6-operator.rules.leader" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [k6-operator]
  verbs: [get, update]
# RBAC can't restrict this to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end }}
{{- define "k6-operator.rules.viewer" -}}
- apiGroups: [k6.io]
  resources: [k6s, testruns]
  verbs: [get, list, watch]
{{- end }}
{{- define "k6-operator.rules.editor" -}}
- apiGroups: [k6.io]
  resources: [k6s, testruns]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
{{- end }}
