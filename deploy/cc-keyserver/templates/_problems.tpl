{{/*
What is wrong with the values beyond their types, a line each; all of it is told at once. No text repeats a value that could
be a key which was put into the wrong place: what is printed ends up in logs.
*/}}

{{- define "cc-keyserver.check" -}}
{{- $problems := include "cc-keyserver.problems" . | trim -}}
{{- if $problems -}}
{{- fail (printf "the values are refused:\n  %s" $problems) -}}
{{- end -}}
{{- end -}}

{{- define "cc-keyserver.problems" -}}
{{- $v := .Values -}}
{{- include "cc-keyserver.keyProblems" . -}}
{{- if not $v.image.repository }}
  image.repository: is empty; write registry/repository
{{- else if regexMatch "[@\\s]|:[^/]*$" $v.image.repository }}
  image.repository: holds a tag or a digest; write registry/repository alone, and image.digest
{{- end }}
{{- if not $v.image.digest }}
  image.digest: is empty; write sha256:... of the image's manifest, for a tag can be moved
{{- end }}
{{- if not $v.tls.secretName }}
  tls.secretName: is empty; name the Secret of type kubernetes.io/tls with the server's certificate
{{- else if not (regexMatch "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" $v.tls.secretName) }}
  tls.secretName: is not a name of a Secret
{{- end }}
{{- include "cc-keyserver.secretProblems" . -}}
{{- include "cc-keyserver.configProblems" . -}}
{{- include "cc-keyserver.auditProblems" . -}}
{{- include "cc-keyserver.accessProblems" . -}}
{{- end -}}

{{/* Keys in the values: Helm would keep them in the cluster with every revision. */}}
{{- define "cc-keyserver.keyProblems" -}}
{{- $all := toJson .Values -}}
{{- $references := toJson (pick .Values "tls" "secrets" "files" "audit" "admin" "metrics") -}}
{{- if or (regexMatch "-----BEGIN [A-Z0-9 ]*PRIVATE KEY" $all) (contains "PRIVATE+KEY+" $all)
       (regexMatch "\"[0-9A-Fa-f]{32}\"" $references) (regexMatch "\"[-A-Za-z0-9+/_]{22}==\"" $references) }}
  a value is, or looks like, a key: give the name of a Secret that holds it; who could read these values may know the key, so make another
{{- end }}
{{- end -}}

{{- define "cc-keyserver.secretProblems" -}}
{{- $seen := dict -}}
{{- if not .Values.secrets }}
  secrets: is empty; name a wrap key and the Secret that holds it
{{- end }}
{{- range $i, $s := .Values.secrets }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" (default "" $s.name)) }}
  secrets[{{ $i }}].name: is not up to 63 lower-case letters, digits and hyphens
{{- else if hasKey $seen $s.name }}
  secrets[{{ $i }}].name: is the name of {{ get $seen $s.name }} too
{{- else }}
{{- $_ := set $seen $s.name (printf "secrets[%d]" $i) }}
{{- end }}
{{- if eq (empty $s.secretName) (empty $s.csi) }}
  secrets[{{ $i }}]: give exactly one of secretName and csi
{{- end }}
{{- if and $s.secretName (not (regexMatch "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" $s.secretName)) }}
  secrets[{{ $i }}].secretName: is not a name of a Secret
{{- end }}
{{- if and $s.key (not (regexMatch "^[-._a-zA-Z0-9]{1,253}$" $s.key)) }}
  secrets[{{ $i }}].key: is not a key of a Secret's data
{{- end }}
{{- if and $s.csi (not (regexMatch "^[-._a-zA-Z0-9]{1,253}$" $s.csi.file)) }}
  secrets[{{ $i }}].csi.file: is not the name of a file in the volume
{{- end }}
{{- end }}
{{- end -}}

{{- define "cc-keyserver.configProblems" -}}
{{- $v := .Values -}}
{{- $names := list -}}
{{- range $v.secrets }}{{ $names = append $names .name }}{{ end -}}
{{- $sources := 0 -}}
{{- range list $v.config.collateral.region $v.config.collateral.url $v.files.collateralBundle.configMapName }}{{ if . }}{{ $sources = add1 $sources }}{{ end }}{{ end -}}
{{- if ne (int $sources) 1 }}
  config.collateral: give exactly one of region, url and files.collateralBundle
{{- end }}
{{- if and $v.files.collateralCA.configMapName (not $v.config.collateral.url) }}
  files.collateralCA: goes with config.collateral.url only
{{- end }}
{{- if and $v.signedConfig.configMapName (not $v.signedConfig.verifyKeys) }}
  signedConfig.verifyKeys: is empty; write what 'ccctl keyserver gen-key' printed
{{- else if and $v.signedConfig.verifyKeys (not $v.signedConfig.configMapName) }}
  signedConfig.configMapName: is empty; name the ConfigMap with config.yaml and config.yaml.sig
{{- end }}
{{- if and (not $v.config.rules) (not $v.signedConfig.configMapName) }}
  config.rules: is empty; without a rule no enclave is ever given a key
{{- end }}
{{- range $i, $rule := $v.config.rules }}
{{- if not (has $rule.secret $names) }}
  config.rules[{{ $i }}].secret: is not among secrets
{{- end }}
{{- end }}
{{- end -}}

{{- define "cc-keyserver.auditProblems" -}}
{{- $audit := .Values.audit -}}
{{- if and (eq $audit.to "claim") (gt (int .Values.replicas) 1) (ne $audit.claim.accessMode "ReadWriteMany") }}
  audit.claim.accessMode: several replicas need ReadWriteMany, or audit.to: ephemeralClaim
{{- end }}
{{- if and (eq $audit.to "ephemeralClaim") (not $audit.claim.storageClassName) }}
  audit.claim.storageClassName: is empty; name a class whose reclaimPolicy is Retain, or the log goes with the pod
{{- end }}
{{- if and (ne $audit.to "claim") $audit.claim.existingClaim }}
  audit.claim.existingClaim: goes with audit.to: claim only
{{- end }}
{{- end -}}

{{- define "cc-keyserver.accessProblems" -}}
{{- $v := .Values -}}
{{- if and $v.service.headless (ne $v.service.type "ClusterIP") }}
  service.headless: goes with type ClusterIP only
{{- end }}
{{- if and $v.service.loadBalancerSourceRanges (ne $v.service.type "LoadBalancer") }}
  service.loadBalancerSourceRanges: goes with type LoadBalancer only
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.clients) }}
  networkPolicy.clients: is empty; say where enclaves connect from, such as [{ ipBlock: { cidr: 10.0.0.0/8 } }]
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.files.collateralBundle.configMapName) (not $v.networkPolicy.collateral.to) }}
  networkPolicy.collateral.to: is empty; give the addresses of the collateral service, or [{ ipBlock: { cidr: 0.0.0.0/0 } }] for any
{{- end }}
{{- if and $v.networkPolicy.admin (not $v.admin.tls.secretName) }}
  networkPolicy.admin: the listener is on the pod's loopback alone; give admin.tls.secretName
{{- end }}
{{- if and $v.admin.tls.clientCASecretName (not $v.admin.tls.secretName) }}
  admin.tls.clientCASecretName: goes with admin.tls.secretName only
{{- end }}
{{- with $v.metrics.serviceMonitor }}
{{- if and .enabled (not $v.admin.tls.secretName) }}
  metrics.serviceMonitor: without TLS the listener is on the pod's loopback alone; give admin.tls.secretName
{{- end }}
{{- if and .enabled (not (and .clientSecretName .serverName)) }}
  metrics.serviceMonitor: give clientSecretName, with which Prometheus is let in, and serverName
{{- end }}
{{- end }}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) }}
  serviceAccount.name: is empty; name the account that exists
{{- end }}
{{- end -}}
