package charttest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

var openAPI = flag.String("openapi", "", "directory with OpenAPI v3 documents of Kubernetes, api/v1.json and apis/*/v1.json, to write testdata/kubernetes-1.30.json from")

const schemaFile = "testdata/kubernetes-1.30.json"

// kinds are what the chart makes, and the schema of each.
var kinds = map[string]string{
	"apps/v1 Deployment":                 "io.k8s.api.apps.v1.Deployment",
	"networking.k8s.io/v1 NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
	"policy/v1 PodDisruptionBudget":      "io.k8s.api.policy.v1.PodDisruptionBudget",
	"v1 ConfigMap":                       "io.k8s.api.core.v1.ConfigMap",
	"v1 PersistentVolumeClaim":           "io.k8s.api.core.v1.PersistentVolumeClaim",
	"v1 Service":                         "io.k8s.api.core.v1.Service",
	"v1 ServiceAccount":                  "io.k8s.api.core.v1.ServiceAccount",
}

// monitorSchema is of what the chart uses of an extension that is in no API server of its own: prometheus-operator's ServiceMonitor.
const monitorSchema = `{"type": "object", "additionalProperties": false, "required": ["apiVersion", "kind", "metadata", "spec"], "properties": {
  "apiVersion": {"const": "monitoring.coreos.com/v1"}, "kind": {"const": "ServiceMonitor"}, "metadata": {"type": "object"},
  "spec": {"type": "object", "additionalProperties": false, "required": ["selector", "endpoints"], "properties": {
    "selector": {"type": "object", "required": ["matchLabels"]}, "namespaceSelector": {"type": "object", "required": ["matchNames"]},
    "endpoints": {"type": "array", "items": {"type": "object", "additionalProperties": false, "properties": {
      "port": {"const": "admin"}, "path": {"const": "/metrics"}, "scheme": {"const": "https"}, "interval": {"type": "string"},
      "tlsConfig": {"type": "object", "additionalProperties": false, "required": ["serverName", "ca", "cert", "keySecret"], "properties": {
        "serverName": {"type": "string"}, "ca": {"$ref": "#/$defs/secret"}, "cert": {"$ref": "#/$defs/secret"}, "keySecret": {"$ref": "#/$defs/key"}}}}}}}}},
  "$defs": {"secret": {"type": "object", "additionalProperties": false, "required": ["secret"], "properties": {"secret": {"$ref": "#/$defs/key"}}},
    "key": {"type": "object", "additionalProperties": false, "required": ["name", "key"], "properties": {"name": {"type": "string"}, "key": {"type": "string"}}}}}`

// validator checks manifests against the schemas of their kinds.
type validator struct {
	t       *testing.T
	schemas map[string]*jsonschema.Schema
}

func newValidator(t *testing.T) *validator {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	raw, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"kubernetes.json": string(raw), "monitor.json": monitorSchema} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("mem:///"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	v := &validator{t: t, schemas: map[string]*jsonschema.Schema{}}
	compile := func(kind, at string) {
		if v.schemas[kind], err = compiler.Compile("mem:///" + at); err != nil {
			t.Fatal(err)
		}
	}
	for kind, definition := range kinds {
		compile(kind, "kubernetes.json#/$defs/"+definition)
	}
	compile("monitoring.coreos.com/v1 ServiceMonitor", "monitor.json")
	return v
}

func (v *validator) validate(manifest string) error {
	v.t.Helper()
	raw, err := yaml.YAMLToJSONStrict([]byte(manifest))
	if err != nil {
		v.t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		v.t.Fatal(err)
	}
	object, _ := doc.(map[string]any)
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	schema := v.schemas[apiVersion+" "+kind]
	if schema == nil {
		v.t.Fatalf("no schema is known of %s %s", apiVersion, kind)
	}
	return schema.Validate(doc)
}

// TestSchemas checks every manifest of every example against Kubernetes' schemas, without a cluster.
func TestSchemas(t *testing.T) {
	v := newValidator(t)
	seen := map[string]bool{}
	for name, file := range valueFiles(t) {
		for _, manifest := range manifests(mustRender(t, readValues(t, file))) {
			if err := v.validate(manifest); err != nil {
				t.Errorf("%s: %v in:\n%s", name, err, manifest)
			}
			kind := regexp.MustCompile(`(?m)^kind: (.*)$`).FindStringSubmatch(manifest)
			seen[kind[1]] = true
		}
	}
	for kind := range v.schemas {
		if _, kind, _ := strings.Cut(kind, " "); !seen[kind] {
			t.Errorf("no example makes a %s", kind)
		}
	}
}

// TestSchemasNotice: each of these is what a slip in a template would make.
func TestSchemasNotice(t *testing.T) {
	v := newValidator(t)
	files := mustRender(t, readValues(t, valueFiles(t)["production"]))
	for _, tt := range []struct{ file, old, new string }{
		{"deployment.yaml", "runAsNonRoot: true", "runAsNonroot: true"},
		{"deployment.yaml", "readOnly: true", "readonly: true"},
		{"deployment.yaml", "replicas: 3", "replicas: three"},
		{"deployment.yaml", "sleep: { seconds: 20 }", "sleep: { second: 20 }"},
		{"deployment.yaml", "defaultMode: 0440", `defaultMode: "0440"`},
		{"deployment.yaml", "containerPort: 4433", "port: 4433"},
		{"service.yaml", "externalTrafficPolicy", "externalTrafficpolicy"},
		{"networkpolicy.yaml", "podSelector:", "selector:"},
		{"networkpolicy.yaml", "cidr: 10.0.0.0/8", "addresses: 10.0.0.0/8"},
		{"poddisruptionbudget.yaml", "maxUnavailable: 1", "maxUnavailable: [1]"},
		{"persistentvolumeclaim.yaml", "accessModes:", "accessMode:"},
		{"serviceaccount.yaml", "automountServiceAccountToken: false", `automountServiceAccountToken: "false"`},
		{"servicemonitor.yaml", "tlsConfig:", "tls:"},
	} {
		text := strings.Replace(files[tt.file], tt.old, tt.new, 1)
		if text == files[tt.file] {
			t.Fatalf("%s does not hold %q", tt.file, tt.old)
		}
		var found bool
		for _, manifest := range manifests(map[string]string{tt.file: text}) {
			found = found || v.validate(manifest) != nil
		}
		if !found {
			t.Errorf("%s with %q: nothing is said of it", tt.file, tt.new)
		}
	}
}

// TestUpdateSchemas writes the schemas anew when it is given the documents.
func TestUpdateSchemas(t *testing.T) {
	if *openAPI == "" {
		t.Skip("give -openapi DIR to write " + schemaFile)
	}
	var documents []string
	for _, pattern := range []string{"api/v1.json", "apis/apps/v1.json", "apis/policy/v1.json", "apis/networking.k8s.io/v1.json"} {
		documents = append(documents, filepath.Join(*openAPI, pattern))
	}
	all := map[string]any{}
	for _, file := range documents {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Components struct{ Schemas map[string]any }
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		for name, schema := range doc.Components.Schemas {
			all[name] = schema
		}
	}
	needed := map[string]any{}
	reference := regexp.MustCompile(`"#/\$defs/([^"]+)"`)
	var need func(name string)
	need = func(name string) {
		if needed[name] != nil {
			return
		}
		needed[name] = closed(all[name])
		raw, err := json.Marshal(needed[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reference.FindAllStringSubmatch(string(raw), -1) {
			need(m[1])
		}
	}
	for _, name := range kinds {
		need(name)
	}
	raw, err := json.Marshal(map[string]any{"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "Kubernetes v1.30, Apache License 2.0; see doc.go", "$defs": needed})
	if err != nil {
		t.Fatal(err)
	}
	// A line a definition, for those who compare versions.
	text := bytes.ReplaceAll(raw, []byte(`,"io.k8s.`), []byte(",\n\"io.k8s."))
	if err := os.WriteFile(schemaFile, append(text, '\n'), 0o644); err != nil { //nolint:gosec // It is no secret.
		t.Fatal(err)
	}
}

// closed is a schema of OpenAPI as one of JSON Schema that knows no other fields, without texts for people.
func closed(schema any) any {
	switch s := schema.(type) {
	case []any:
		s = slices.Clone(s)
		for i := range s {
			s[i] = closed(s[i])
		}
		return s
	case map[string]any:
		out := map[string]any{}
		for k, v := range s {
			text, isText := v.(string)
			switch {
			case strings.HasPrefix(k, "x-") || k == "description" && isText || k == "default" || k == "format" && isText:
			case k == "$ref" && isText:
				out[k] = strings.Replace(text, "#/components/schemas/", "#/$defs/", 1)
			default:
				out[k] = closed(v)
			}
		}
		if _, known := out["properties"]; known && out["additionalProperties"] == nil {
			out["additionalProperties"] = false
		}
		return out
	default:
		return schema
	}
}
