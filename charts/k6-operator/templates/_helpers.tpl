{{- define "k6-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The name of an object: the prefix, cut so that all fits into 63 characters, and
a suffix. Takes root and suffix. */}}
{{- define "k6-operator.fullname" -}}
{{- $suffix := .suffix | default "" }}
{{- $values := .root.Values }}
{{- $name := default .root.Chart.Name $values.nameOverride }}
{{- $release := .root.Release.Name }}
{{- $prefix := $values.fullnameOverride | default (ternary $release (printf "%s-%s" $release $name) (contains $name $release)) }}
{{- printf "%s%s" ($prefix | trunc (int (sub 63 (len $suffix))) | trimSuffix "-") $suffix }}
{{- end }}

{{- define "k6-operator.namespace" -}}
{{- ternary (printf "%s-system" .Release.Name) .Release.Namespace (eq .Release.Namespace "default") }}
{{- end }}

{{- define "k6-operator.serviceAccountName" -}}
{{- $account := .Values.manager.serviceAccount }}
{{- if $account.create }}
{{- $account.name | default (include "k6-operator.fullname" (dict "root" .)) }}
{{- else }}
{{- $account.name | default "default" }}
{{- end }}
{{- end }}

{{- /* The labels by which the operator's pods are selected. A Deployment can't change
them: the chart of grafana/k6-operator has the same two. */}}
{{- define "k6-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "k6-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "k6-operator.labels" -}}
{{ include "k6-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: k6-operator
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The metadata of an object: its name or suffix, labels and annotations. Takes root,
name or suffix, and optionally namespace, labels and annotations, which win over the
values for all objects. */}}
{{- define "k6-operator.metadata" -}}
{{- $values := .root.Values }}
{{- $labels := include "k6-operator.labels" .root | fromYaml }}
{{- $labels = mustMergeOverwrite $labels (deepCopy ($values.customLabels | default dict)) (.labels | default dict) }}
{{- $annotations := mustMergeOverwrite (deepCopy ($values.customAnnotations | default dict)) (.annotations | default dict) -}}
name: {{ .name | default (include "k6-operator.fullname" .) }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The namespaces in which the operator has a Role, as a list; none where it has a
ClusterRole. It reads from its own pod which image it is, so its own is among them. */}}
{{- define "k6-operator.roleNamespaces" -}}
{{- if or .Values.rbac.namespaced .Values.watchNamespaces }}
{{- prepend (.Values.watchNamespaces | default list) (include "k6-operator.namespace" .) | uniq | toJson }}
{{- else }}
{{- list | toJson }}
{{- end }}
{{- end }}

{{- /* The operator's image. Refuses names under which this operator can't be. */}}
{{- define "k6-operator.image" -}}
{{- $image := .Values.manager.image }}
{{- $registry := .Values.global.image.registry | default $image.registry | trimSuffix "/" }}
{{- $name := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") }}
{{- $remedy := "Build one and push it to a registry of yours (make image IMG=registry.example.com/k6-operator:0.2.0, see docs/helm.md), then set manager.image.registry, manager.image.repository and manager.image.tag" }}
{{- if hasPrefix "k6-operator.invalid/" $name }}
{{- fail (printf "\n\nmanager.image.registry: no image of this operator is published, and k6-operator.invalid is a name that no registry can have. %s.\n" $remedy) }}
{{- end }}
{{- if eq $name "ghcr.io/grafana/k6-operator" }}
{{- fail (printf "\n\nmanager.image.repository: %s has the images of another operator, which this chart does not run. %s.\n" $name $remedy) }}
{{- end }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name (required "manager.image.tag: set it, or manager.image.digest" ($image.tag | toString)) }}
{{- end }}
{{- end }}

{{- /* The environment of the operator, as a list. What manager.env has replaces ours. */}}
{{- define "k6-operator.env" -}}
{{- $field := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" }}
{{- /* What the operator frees goes back to the node. */}}
{{- $plain := dict "GLIBC_TUNABLES" "glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536:glibc.malloc.top_pad=0" }}
{{- if .Values.watchNamespaces }}
{{- $_ := set $plain "WATCH_NAMESPACES" (join "," .Values.watchNamespaces) }}
{{- else if .Values.rbac.namespaced }}
{{- $_ := set $field "WATCH_NAMESPACE" "metadata.namespace" }}
{{- end }}
{{- with .Values.runnerImage }}
{{- $_ := set $plain "RUNNER_IMAGE" . }}
{{- end }}
{{- with .Values.keepFinishedJobs }}
{{- $_ := set $plain "KEEP_FINISHED_JOBS" . }}
{{- end }}
{{- with .Values.imageVolumes }}
{{- $_ := set $plain "IMAGE_VOLUMES" . }}
{{- end }}
{{- if eq .Values.manager.logging.development false }}
{{- $_ := set $plain "LOG_FORMAT" "json" }}
{{- end }}
{{- $env := .Values.manager.env | default list }}
{{- range $env }}
{{- $_ := unset $field .name }}
{{- $_ := unset $plain .name }}
{{- end }}
{{- $all := list }}
{{- range $name, $path := $field }}
{{- $all = append $all (dict "name" $name "valueFrom" (dict "fieldRef" (dict "fieldPath" $path))) }}
{{- end }}
{{- range $name, $value := $plain }}
{{- $all = append $all (dict "name" $name "value" $value) }}
{{- end }}
{{- concat $all $env | toYaml }}
{{- end }}

{{- define "k6-operator.defaultsName" -}}
{{- include "k6-operator.fullname" (dict "root" . "suffix" "-defaults") }}
{{- end }}
