{{- define "agent.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "agent.account" -}}
{{- .Values.serviceAccount.name | default (include "agent.name" .) -}}
{{- end -}}

{{- define "agent.selector" -}}
app.kubernetes.io/name: sinfonia-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "agent.labels" -}}
{{ include "agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "agent.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Where devices send: the port that the service has, unless the endpoint names another one. */}}
{{- define "agent.endpoint" -}}
{{- $endpoint := required "gateway.endpoint: give the IPv4 address that devices reach the gateway at" .Values.gateway.endpoint -}}
{{- if contains ":" $endpoint -}}
{{ $endpoint }}
{{- else if eq .Values.gateway.expose "nodePort" -}}
{{ $endpoint }}:{{ .Values.gateway.nodePort }}
{{- else -}}
{{ $endpoint }}:51820
{{- end -}}
{{- end -}}
