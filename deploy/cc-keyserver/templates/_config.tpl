{{/*
The server's configuration. Paths in it are relative to its own directory, /etc/cc-key-server, which is one projected
volume: configuration, certificate and keys change there together.
*/}}

{{- define "cc-keyserver.config" -}}
{{- $v := .Values -}}
{{- $collateral := deepCopy $v.config.collateral -}}
{{- if $v.files.collateralCA.configMapName -}}
{{- $_ := set $collateral "ca" "files/collateral-ca.pem" -}}
{{- end -}}
{{- if $v.files.collateralBundle.configMapName -}}
{{- $_ := set $collateral "bundle" "files/collateral.json" -}}
{{- else -}}
{{- $_ := set $collateral "cache_dir" "/var/lib/cc-key-server/collateral" -}}
{{- end -}}
{{- $secrets := list -}}
{{- range $v.secrets -}}
{{- $secret := dict "name" .name "encoding" (default "raw" .encoding) "form" (default "raw" .form) -}}
{{- if .csi -}}
{{- $_ := set $secret "file" (printf "/run/cc-keys/%s/%s" .name .csi.file) -}}
{{- if .csi.allowReadableByOthers -}}
{{- $_ := set $secret "allow_readable_by_others" true -}}
{{- end -}}
{{- else -}}
{{- $_ := set $secret "file" (printf "keys/%s" .name) -}}
{{- end -}}
{{- $secrets = append $secrets $secret -}}
{{- end -}}
{{- $config := include "cc-keyserver.fixedConfig" . | fromJson -}}
{{- if $v.admin.serverNames -}}
{{- $_ := set $config.admin "server_names" $v.admin.serverNames -}}
{{- end -}}
{{- $_ := set $config "tls" (dict "certificate" "tls/tls.crt" "private_key" "tls/tls.key") -}}
{{- $_ := set $config "collateral" $collateral -}}
{{- $_ := set $config "secrets" $secrets -}}
{{- $_ := set $config "rules" $v.config.rules -}}
{{- $_ := set $config "limits" (set (deepCopy $v.config.limits) "drain_timeout" (printf "%ds" (int $v.drain.timeoutSeconds))) -}}
{{- if $v.files.allowTrustedRoot.configMapName -}}
{{- $_ := set $config "allow_trusted_root" "files/trusted-root.pem" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What a running server does not take from a changed configuration; its digest in the pods' annotations restarts them. */}}
{{- define "cc-keyserver.fixedConfig" -}}
{{- $v := .Values -}}
{{- $audit := dict "file" "/var/lib/cc-key-server/audit/audit.log" "rotate_size" $v.audit.rotateSize -}}
{{- if eq $v.audit.to "stdout" -}}
{{- $_ := set $audit "copy_to_stdout" true -}}
{{- end -}}
{{- if $v.audit.checkpointKey.secretName -}}
{{- $_ := set $audit "checkpoint_key" "audit/checkpoint.key" -}}
{{- $_ := set $audit "checkpoint_interval" $v.audit.checkpointInterval -}}
{{- end -}}
{{- $admin := dict "listen" "127.0.0.1:9433" -}}
{{- if $v.admin.tls.secretName -}}
{{- $admin = dict "listen" ":9433" "tls" (dict "certificate" "admin/tls.crt" "private_key" "admin/tls.key" "client_ca" "admin/client-ca.crt") -}}
{{- end -}}
{{- dict "listen" ":4433" "audit" $audit "admin" $admin "health" (dict "listen" ":9434") | toJson -}}
{{- end -}}

{{/* The sources of the projected volume at /etc/cc-key-server. */}}
{{- define "cc-keyserver.configSources" -}}
{{- $v := .Values -}}
- configMap:
    name: {{ include "cc-keyserver.configMapName" . }}
    items:
      - { key: config.yaml, path: config.yaml }
      {{- if $v.signedConfig.configMapName }}
      - { key: config.yaml.sig, path: config.yaml.sig }
      {{- end }}
- secret:
    name: {{ $v.tls.secretName | quote }}
    items:
      - { key: tls.crt, path: tls/tls.crt }
      - { key: tls.key, path: tls/tls.key }
{{- range $v.secrets }}
{{- if .secretName }}
- secret:
    name: {{ .secretName | quote }}
    items:
      - { key: {{ default "wrap-key" .key | quote }}, path: keys/{{ .name }} }
{{- end }}
{{- end }}
{{- with $v.audit.checkpointKey.secretName }}
- secret:
    name: {{ . | quote }}
    items:
      - { key: {{ default "checkpoint.key" $v.audit.checkpointKey.key | quote }}, path: audit/checkpoint.key }
{{- end }}
{{- with $v.admin.tls.secretName }}
- secret:
    name: {{ . | quote }}
    items:
      - { key: tls.crt, path: admin/tls.crt }
      - { key: tls.key, path: admin/tls.key }
- secret:
    name: {{ default . $v.admin.tls.clientCASecretName | quote }}
    items:
      - { key: ca.crt, path: admin/client-ca.crt }
{{- end }}
{{- range list (list $v.files.collateralCA "collateral-ca.pem") (list $v.files.collateralBundle "collateral.json") (list $v.files.allowTrustedRoot "trusted-root.pem") }}
{{- $file := first . }}
{{- if $file.configMapName }}
- configMap:
    name: {{ $file.configMapName | quote }}
    items:
      - { key: {{ default (last .) $file.key | quote }}, path: files/{{ last . }} }
{{- end }}
{{- end }}
{{- end -}}
