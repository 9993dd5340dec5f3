{{/*
Names are fixed, not made from the release: custom resource definitions and admission policies exist once in a Kubernetes
cluster, so one installation is all there can be, and documentation and commands may name its parts.
*/}}
{{- define "quorate.labels" -}}
{{ include "quorate.selector" . }}
app.kubernetes.io/part-of: quorate
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "quorate.selector" -}}
app.kubernetes.io/name: quorate
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "quorate.image" -}}
{{- $repository := required "set image.repository to where you pushed the image (--set image.repository=REGISTRY/quorate), see docs/install.md" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Environment of every part. */}}
{{- define "quorate.environment" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: QUORATE_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- with .Values.apiServer }}
{{- if .host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .port | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Objects in each cluster's namespace that the parts read by name, as YAML lists. */}}
{{- define "quorate.configMaps" -}}
[quorate-corosync, quorate-ca]
{{- end -}}

{{- define "quorate.secretsOfAgents" -}}
[quorate-corosync-key]
{{- end -}}

{{- define "quorate.secretsOfControllers" -}}
[quorate-corosync-key, quorate-ca]
{{- end -}}
