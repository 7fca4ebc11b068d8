package charttest

import (
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestRefusals has one mistake a row, and what is said of it. The values are the minimal example's.
func TestRefusals(t *testing.T) {
	c, minimal := load(t), readValues(t, valueFiles(t)["minimal"])
	if _, err := render(c, minimal); err != nil {
		t.Fatalf("without a mistake: %v", err)
	}
	rule := func(changes ...any) []any {
		r := maps.Clone(minimal["config"].(map[string]any)["rules"].([]any)[0].(map[string]any)) //nolint:forcetypeassert // It panics if not.
		maps.Copy(r, object(changes...))
		maps.DeleteFunc(r, func(_ string, v any) bool { return v == nil })
		return list(r)
	}
	secret := func(pairs ...any) []any { return list(object(append([]any{"name", "resnet50"}, pairs...)...)) }
	for _, tt := range []struct {
		name    string
		changes map[string]any
		want    string
	}{
		// Types and names: values.schema.json.
		{"unknown value", object("replicaCount", 3), "additional properties 'replicaCount' not allowed"},
		{"unknown value below", object("tls.secret", "x"), "at '/tls': additional properties 'secret' not allowed"},
		{"removed value", object("drain", nil), "missing property 'drain'"},
		{"no replica", object("replicas", 0), "at '/replicas': minimum: got 0, want 1"},
		{"replicas in words", object("replicas", "three"), "at '/replicas': got string, want integer"},
		{"tag for a digest", object("image.digest", "v1.2.3"), "at '/image/digest': 'v1.2.3' does not match pattern"},
		{"short digest", object("image.digest", "sha256:0123"), "at '/image/digest': 'sha256:0123' does not match pattern"},
		{"key in a secret", object("secrets", secret("value", "canary")), "at '/secrets/0': additional properties 'value' not allowed"},
		{"data of a secret", object("secrets", secret("data", object("wrap-key", "canary"))), "at '/secrets/0': additional properties 'data' not allowed"},
		{"private key in TLS", object("tls.key", "canary"), "at '/tls': additional properties 'key' not allowed"},
		{"unknown encoding", object("secrets", secret("secretName", "s", "encoding", "base64")), "at '/secrets/0/encoding': value must be one of 'raw', 'hex'"},
		{"measurement that is a number", object("config.rules", rule("mr_enclave", list(1.1e63))), "at '/config/rules/0/mr_enclave/0': got number, want string"},
		{"short measurement", object("config.rules", rule("mr_enclave", list("7de5"))), "at '/config/rules/0/mr_enclave/0': '7de5' does not match pattern"},
		{"rule for everybody", object("config.rules", rule("mr_enclave", nil)), "at '/config/rules/0': 'anyOf' failed"},
		{"rule that accepts no status", object("config.rules", rule("tcb", object())), "at '/config/rules/0/tcb': missing property 'accept'"},
		{"revoked platforms", object("config.rules", rule("tcb", object("accept", list("Revoked")))), "at '/config/rules/0/tcb/accept/0': value must be one of 'UpToDate'"},
		{"misspelt condition", object("config.rules", rule("min_isv_svm", 3)), "at '/config/rules/0': additional properties 'min_isv_svm' not allowed"},
		{"product id beyond 16 bits", object("config.rules", rule("isv_prod_id", 65536)), "maximum: got 65,536, want 65,535"},
		{"mask that a float cannot hold", object("config.rules", rule("attributes", object("flags_mask", 1<<60))), "at '/config/rules/0/attributes/flags_mask': maximum: got"},
		{"drain time in limits", object("config.limits.drain_timeout", "5s"), "at '/config/limits': additional properties 'drain_timeout' not allowed"},
		{"days", object("config.collateral.max_age", "7d"), "at '/config/collateral/max_age': '7d' does not match pattern"},
		{"peer that is everybody", object("networkPolicy.clients", list(object())), "at '/networkPolicy/clients/0': minProperties: got 0, want 1"},
		{"egress to everywhere", object("networkPolicy.extraEgress", list(object("ports", list()))), "at '/networkPolicy/extraEgress/0': missing property 'to'"},
		{"no name service", object("networkPolicy.dns.to", list()), "at '/networkPolicy/dns/to': minItems: got 0, want 1"},
		{"no pause before the end", object("drain.preStopSeconds", 0), "at '/drain/preStopSeconds': minimum: got 0, want 1"},
		{"budget that lets nobody work", object("podDisruptionBudget.maxUnavailable", 0), "at '/podDisruptionBudget/maxUnavailable': 'anyOf' failed"},
		{"privileges", object("securityContext", object("privileged", true)), "additional properties 'securityContext' not allowed"},

		// What a schema cannot say: templates/_problems.tpl.
		{"no image", object("image.repository", ""), "image.repository: is empty; write registry/repository"},
		{"tag", object("image.repository", "registry.example.com:5000/cc-key-server:v1"), "image.repository: holds a tag or a digest; write registry/repository alone, and image.digest"},
		{"digest twice", object("image.repository", "r/k@sha256:00"), "image.repository: holds a tag or a digest"},
		{"no digest", object("image.digest", ""), "image.digest: is empty; write sha256:... of the image's manifest, for a tag can be moved"},
		{"no certificate", object("tls.secretName", ""), "tls.secretName: is empty; name the Secret of type kubernetes.io/tls with the server's certificate"},
		{"certificate of no Secret", object("tls.secretName", "Keys_TLS"), "tls.secretName: is not a name of a Secret"},
		{"no secrets", object("secrets", list()), "secrets: is empty; name a wrap key and the Secret that holds it"},
		{"secret of nowhere", object("secrets", secret()), "secrets[0]: give exactly one of secretName and csi"},
		{
			"secret of two places", object("secrets", secret("secretName", "s", "csi", object("driver", "d", "secretProviderClass", "c", "file", "f"))),
			"secrets[0]: give exactly one of secretName and csi",
		},
		{"name that is no part of a path", object("secrets", list(object("name", "../x", "secretName", "s"))), "secrets[0].name: is not up to 63 lower-case letters, digits and hyphens"},
		{"name twice", object("secrets", append(secret("secretName", "a"), secret("secretName", "b")...)), "secrets[1].name: is the name of secrets[0] too"},
		{"Secret of another namespace", object("secrets", secret("secretName", "other/s")), "secrets[0].secretName: is not a name of a Secret"},
		{"strange key", object("secrets", secret("secretName", "s", "key", "a/b")), "secrets[0].key: is not a key of a Secret's data"},
		{
			"file outside of the volume", object("secrets", secret("csi", object("driver", "d", "secretProviderClass", "c", "file", "../f"))),
			"secrets[0].csi.file: is not the name of a file in the volume",
		},
		{"no rules", object("config.rules", list()), "config.rules: is empty; without a rule no enclave is ever given a key"},
		{"rule of another secret", object("config.rules", rule("secret", "bert")), "config.rules[0].secret: is not among secrets"},
		{"no collateral", object("config.collateral", object("region", "")), "config.collateral: give exactly one of region, url and files.collateralBundle"},
		{"two collaterals", object("config.collateral.url", "https://pccs.example.com"), "config.collateral: give exactly one of region, url and files.collateralBundle"},
		{"CA of a region", object("files.collateralCA.configMapName", "ca"), "files.collateralCA: goes with config.collateral.url only"},
		{"signed by nobody", object("signedConfig.configMapName", "signed"), "signedConfig.verifyKeys: is empty; write what 'ccctl keyserver gen-key' printed"},
		{"signed nothing", object("signedConfig.verifyKeys", list("k")), "signedConfig.configMapName: is empty; name the ConfigMap with config.yaml and config.yaml.sig"},
		{
			"several writers of one node's volume", object("audit.to", "claim", "audit.claim.accessMode", "ReadWriteOnce"),
			"audit.claim.accessMode: several replicas need ReadWriteMany, or audit.to: ephemeralClaim",
		},
		{"volume that goes with the pod", object("audit.to", "ephemeralClaim"), "audit.claim.storageClassName: is empty; name a class whose reclaimPolicy is Retain, or the log goes with the pod"},
		{"claim without use", object("audit.claim.existingClaim", "c"), "audit.claim.existingClaim: goes with audit.to: claim only"},
		{"headless load balancer", object("service.headless", true, "service.type", "LoadBalancer"), "service.headless: goes with type ClusterIP only"},
		{"ranges without use", object("service.loadBalancerSourceRanges", list("10.0.0.0/8")), "service.loadBalancerSourceRanges: goes with type LoadBalancer only"},
		{"no clients", object("networkPolicy.clients", list()), "networkPolicy.clients: is empty; say where enclaves connect from"},
		{"no way to collateral", object("networkPolicy.collateral.to", list()), "networkPolicy.collateral.to: is empty; give the addresses of the collateral service, or"},
		{
			"visitors of the loopback", object("networkPolicy.admin", list(object("podSelector", object()))),
			"networkPolicy.admin: the listener is on the pod's loopback alone; give admin.tls.secretName",
		},
		{"CA without listener", object("admin.tls.clientCASecretName", "ca"), "admin.tls.clientCASecretName: goes with admin.tls.secretName only"},
		{"metrics of the loopback", object("metrics.serviceMonitor.enabled", true), "metrics.serviceMonitor: without TLS the listener is on the pod's loopback alone; give admin.tls.secretName"},
		{
			"Prometheus without certificate", object("metrics.serviceMonitor.enabled", true, "admin.tls.secretName", "a"),
			"metrics.serviceMonitor: give clientSecretName, with which Prometheus is let in, and serverName",
		},
		{"nobody's account", object("serviceAccount.create", false), "serviceAccount.name: is empty; name the account that exists"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := render(c, with(minimal, tt.changes))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error repeats what may be a key: %v", err)
			}
		})
	}
}

// TestAllProblemsAreToldAtOnce: what is missing in the chart's own values, so to speak the way to the first install.
func TestAllProblemsAreToldAtOnce(t *testing.T) {
	_, err := render(load(t), nil)
	const want = `the values are refused:
  image.repository: is empty; write registry/repository
  image.digest: is empty; write sha256:... of the image's manifest, for a tag can be moved
  tls.secretName: is empty; name the Secret of type kubernetes.io/tls with the server's certificate
  secrets: is empty; name a wrap key and the Secret that holds it
  config.collateral: give exactly one of region, url and files.collateralBundle
  config.rules: is empty; without a rule no enclave is ever given a key
  networkPolicy.clients: is empty; say where enclaves connect from, such as [{ ipBlock: { cidr: 10.0.0.0/8 } }]
  networkPolicy.collateral.to: is empty; give the addresses of the collateral service, or [{ ipBlock: { cidr: 0.0.0.0/0 } }] for any`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error is:\n%v\nwant it to end with:\n%s", err, want)
	}
}

// TestKeysAreRefused puts a key, in each form it may have, wherever one might be pasted. The chart must refuse it, for Helm would
// keep it in the cluster, and must not repeat it.
func TestKeysAreRefused(t *testing.T) {
	c, minimal := load(t), readValues(t, valueFiles(t)["minimal"])
	key := []byte("canary-wrap-key!")
	pem := "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5LXdyYXAta2V5IQ\n-----END PRIVATE KEY-----\n"
	forms := map[string]string{
		"hex": hex.EncodeToString(key), "HEX": strings.ToUpper(hex.EncodeToString(key)), "base64": base64.StdEncoding.EncodeToString(key),
		"PKCS8": pem, "SEC1": strings.ReplaceAll(pem, "PRIVATE", "EC PRIVATE"), "PKCS1": strings.ReplaceAll(pem, "PRIVATE", "RSA PRIVATE"),
		"signing key": "PRIVATE+KEY+keys.example.com+0a1b2c3d+Y2FuYXJ5LXdyYXAta2V5IQ",
	}
	places := map[string]func(text string) map[string]any{
		"secret's name": func(s string) map[string]any {
			return object("secrets", list(object("name", s, "secretName", "s")))
		},
		"Secret's name": func(s string) map[string]any {
			return object("secrets", list(object("name", "resnet50", "secretName", s)))
		},
		"Secret's key": func(s string) map[string]any {
			return object("secrets", list(object("name", "resnet50", "secretName", "s", "key", s)))
		},
		"CSI file": func(s string) map[string]any {
			return object("secrets", list(object("name", "resnet50", "csi", object("driver", "d", "secretProviderClass", "c", "file", s))))
		},
		"CSI class": func(s string) map[string]any {
			return object("secrets", list(object("name", "resnet50", "csi", object("driver", "d", "secretProviderClass", s, "file", "f"))))
		},
		"certificate's Secret": func(s string) map[string]any { return object("tls.secretName", s) },
		"checkpoint key":       func(s string) map[string]any { return object("audit.checkpointKey.secretName", s) },
		"admin's Secret":       func(s string) map[string]any { return object("admin.tls.secretName", s) },
		"trusted root":         func(s string) map[string]any { return object("files.allowTrustedRoot.configMapName", s) },
		"nobody's value":       func(s string) map[string]any { return object("secrets", list(object("name", "resnet50", "value", s))) },
	}
	for place, put := range places {
		for form, text := range forms {
			_, err := render(c, with(minimal, put(text)))
			if err == nil {
				t.Errorf("%s in the place of %s is accepted", form, place)
				continue
			}
			said := strings.ToLower(err.Error())
			for _, shown := range slices.Sorted(maps.Values(forms)) {
				if strings.Contains(said, strings.ToLower(shown)) || strings.Contains(said, "y2fuyxj5") {
					t.Errorf("%s in the place of %s is repeated: %v", form, place, err)
				}
			}
			if place != "nobody's value" && !strings.Contains(said, "looks like, a key: give the name of a secret that holds it") {
				t.Errorf("%s in the place of %s: %v", form, place, err)
			}
		}
	}
	// A private key is refused anywhere at all.
	_, err := render(c, with(minimal, object("podAnnotations", object("note", pem))))
	if err == nil || !strings.Contains(err.Error(), "looks like, a key") {
		t.Errorf("a private key in an annotation: %v", err)
	}
	// What only looks like one elsewhere is none: the family id of a rule has 32 digits.
	rules := minimal["config"].(map[string]any)["rules"].([]any)                                    //nolint:forcetypeassert // It panics if not.
	family := change(rules[0].(map[string]any), []string{"isv_family_id"}, hex.EncodeToString(key)) //nolint:forcetypeassert // As above.
	if _, err := render(c, with(minimal, object("config.rules", list(family)))); err != nil {
		t.Errorf("a family id: %v", err)
	}
}
