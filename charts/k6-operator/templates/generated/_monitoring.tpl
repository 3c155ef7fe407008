{{- /* Generated from manifests/ by `make manifests`. */}}
{{- define "k6-operator.monitoring.tests" -}}
namespaceSelector:
  any: true
selector:
  matchLabels:
    k6.io/component: aggregator
podMetricsEndpoints:
  - port: otlp
    path: /metrics
    interval: 5s
    relabelings:
      - sourceLabels: [__meta_kubernetes_pod_label_k6_io_run]
        targetLabel: run
{{- end }}
{{- define "k6-operator.monitoring.alerts" -}}
groups:
  - name: k6-operator
    rules:
      - alert: K6OperatorDown
        expr: absent(leader_election_master_status{name="k6-operator"} == 1)
        for: 2m
        labels:
          severity: critical
        annotations:
          summary: No k6-operator acts
          description: >-
            No replica leads, or none is scraped. Runners go on, but no test starts, stops or gets a result.
      - alert: K6RunsStuck
        expr: >-
          (sum(max by (state, result) (k6_operator_runs{state=~"Initializing|Created|Starting|Stopping"})) > 0)
          unless
          (sum(increase(k6_operator_transitions_total[30m])) > 0)
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: Test runs wait, and none has moved for half an hour
          description: >-
            {{ "{{ $value }}" }} runs are being prepared or stopped. The message in `kubectl get k6,testruns -A -o wide`
            says what each waits for. A run that is held by spec.suspend counts too.
      - alert: K6RunsRefused
        expr: max(k6_operator_retrying_runs) > 0
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: The API server refuses what test runs need
          description: >-
            Requests of {{ "{{ $value }}" }} runs are refused or fail: by a quota, an admission policy or missing rights.
            The condition Retrying of the run has the request and the answer.
      - alert: K6ThresholdCrossed
        expr: max by (namespace, run, metric, threshold) (k6_threshold_crossed) > 0
        labels:
          severity: info
        annotations:
          summary: The test {{ "{{ $labels.namespace }}" }}/{{ "{{ $labels.run }}" }} crosses a threshold
          description: "{{ "{{ $labels.metric }}" }}: {{ "{{ $labels.threshold }}" }}"
{{- end }}
