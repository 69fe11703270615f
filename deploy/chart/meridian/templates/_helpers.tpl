{{- define "meridian.name" -}}
{{- $name := ternary .Release.Name (printf "%s-meridian" .Release.Name) (contains "meridian" .Release.Name) -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "meridian.selector" -}}
app.kubernetes.io/name: meridian
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "meridian.labels" -}}
{{ include "meridian.selector" . }}
app.kubernetes.io/component: region
app.kubernetes.io/part-of: {{ .Values.cluster }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
meridian.db/region: {{ .Values.region }}
{{- end }}

{{- define "meridian.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{- define "meridian.secret" -}}
{{- if .Values.certificates.secretName }}{{ .Values.certificates.secretName }}{{ else }}{{ include "meridian.name" . }}-certificates{{ end }}
{{- end }}

{{- define "meridian.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else if .Values.serviceAccount.create }}{{ include "meridian.name" . }}{{ else }}default{{ end }}
{{- end }}

{{- define "meridian.config" -}}
region: {{ .Values.region }}
cluster: {{ .Values.cluster }}
data: /data
tls-dir: /certs
http: 0.0.0.0:8080
peer-listen: 0.0.0.0:7400
topology: {{ .Values.topology.kind }}
{{- with .Values.topology.hub }}
hub: {{ . }}
{{- end }}
{{- with .Values.topology.deputies }}
deputies: {{ toJson . }}
{{- end }}
{{- with .Values.peers }}
peers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.strictCollections }}
strict-collections: true
{{- end }}
{{- if .Values.faultInjection }}
fault-injection: true
{{- end }}
log-level: {{ .Values.log.level }}
log-format: {{ .Values.log.format }}
{{- with .Values.config }}
{{ toYaml . }}
{{- end }}
{{- end }}
