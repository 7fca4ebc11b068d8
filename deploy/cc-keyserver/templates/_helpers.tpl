{{/* Names and labels. */}}

{{- define "cc-keyserver.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Shortened so that "-admin" and a ReplicaSet's suffix still fit. */}}
{{- define "cc-keyserver.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cc-keyserver.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cc-keyserver.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cc-keyserver.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "cc-keyserver.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: key-server
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "cc-keyserver.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cc-keyserver.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "cc-keyserver.configMapName" -}}
{{- default (include "cc-keyserver.fullname" .) .Values.signedConfig.configMapName -}}
{{- end -}}

{{- define "cc-keyserver.auditClaimName" -}}
{{- default (printf "%s-audit" (include "cc-keyserver.fullname" .)) .Values.audit.claim.existingClaim -}}
{{- end -}}

{{/* Whether the pods of two revisions cannot run beside each other, because their volume is for one at a time. */}}
{{- define "cc-keyserver.oneAtATime" -}}
{{- if and (eq .Values.audit.to "claim") (ne .Values.audit.claim.accessMode "ReadWriteMany") -}}yes{{- end -}}
{{- end -}}
