{{- /* Generated from manifests/ by `make manifests`. */}}
{{- define "k6-operator.network.k6-operator" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: {{ include "k6-operator.name" . }}
policyTypes: [Ingress, Egress]
ingress:
  # Prometheus, in namespaces with this label. The kubelet's probes of 8081 come
  # from the pod's own node, from which traffic is always allowed.
  - from:
      - namespaceSelector:
          matchLabels:
            metrics: enabled
    ports:
      - {protocol: TCP, port: 8080}
egress:
  # The API server: its Service's port, or its own. Add the ports of yours, and
  # that of OTEL_EXPORTER_OTLP_ENDPOINT if you set it.
  - ports:
      - {protocol: TCP, port: 443}
      - {protocol: TCP, port: 6443}
{{- end }}
{{- define "k6-operator.networks.operator" -}}
- k6-operator
{{- end }}
{{- define "k6-operator.network.k6-runs" -}}
podSelector:
  matchExpressions:
    - {key: k6.io/run-uid, operator: Exists}
policyTypes: [Ingress]
{{- end }}
{{- define "k6-operator.network.k6-runners" -}}
podSelector:
  matchLabels:
    k6.io/component: runner
policyTypes: [Ingress]
ingress:
  - from:
      - podSelector:
          matchExpressions:
            - {key: k6.io/component, operator: In, values: [starter, stopper]}
    ports:
      - {protocol: TCP, port: 6565}
{{- end }}
{{- define "k6-operator.network.k6-aggregators" -}}
podSelector:
  matchLabels:
    k6.io/component: aggregator
policyTypes: [Ingress]
ingress:
  - from:
      - podSelector:
          matchLabels:
            k6.io/component: runner
      # Prometheus, in namespaces with this label.
      - namespaceSelector:
          matchLabels:
            metrics: enabled
    ports:
      - {protocol: TCP, port: 4318}
{{- end }}
{{- define "k6-operator.networks.runs" -}}
- k6-runs
- k6-runners
- k6-aggregators
{{- end }}
{{- define "k6-operator.network.k6-starters-egress" -}}
podSelector:
  matchExpressions:
    - {key: k6.io/component, operator: In, values: [starter, stopper]}
policyTypes: [Egress]
egress:
  - to:
      - podSelector:
          matchLabels:
            k6.io/component: runner
    ports:
      - {protocol: TCP, port: 6565}
{{- end }}
{{- define "k6-operator.network.k6-runners-egress" -}}
podSelector:
  matchLabels:
    k6.io/component: runner
policyTypes: [Egress]
egress:
  - to:
      - podSelector:
          matchLabels:
            k6.io/component: aggregator
    ports:
      - {protocol: TCP, port: 4318}
{{- end }}
{{- define "k6-operator.networks.runs-egress" -}}
- k6-starters-egress
- k6-runners-egress
{{- end }}
