{{- define "harbour.name" -}}
{{ .Release.Name }}-harbour
{{- end }}
{{- define "harbour.selector" -}}
app.kubernetes.io/name: harbour
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "harbour.labels" -}}
{{ include "harbour.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
