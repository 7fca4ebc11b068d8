package charttest

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = "../cc-keyserver"

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// valueFiles are the examples that the chart comes with, by name.
func valueFiles(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files of values, error %v", len(files), err)
	}
	byName := map[string]string{}
	for _, f := range files {
		byName[strings.TrimSuffix(filepath.Base(f), "-values.yaml")] = f
	}
	return byName
}

func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	values, err := common.ReadValuesFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// render is 'helm template keys CHART --namespace confidential', file by file, notes included.
func render(c *chart.Chart, values map[string]any) (map[string]string, error) {
	release := common.ReleaseOptions{Name: "keys", Namespace: "confidential", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c, values, release, nil)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, text := range rendered {
		if base := path.Base(name); !strings.HasPrefix(base, "_") && strings.TrimSpace(text) != "" {
			files[base] = text
		}
	}
	return files, nil
}

func mustRender(t *testing.T, values map[string]any) map[string]string {
	t.Helper()
	files, err := render(load(t), values)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// manifests are the documents of a render, in order.
func manifests(files map[string]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == "NOTES.txt" {
			continue
		}
		for doc := range strings.SplitSeq(files[name], "\n---\n") {
			all = append(all, strings.TrimSpace(doc)+"\n")
		}
	}
	return all
}

// objects are the manifests of a render, read strictly: a field that its type does not have is an error.
type objects struct {
	deployment *appsv1.Deployment
	services   map[string]*corev1.Service
	config     *corev1.ConfigMap
	account    *corev1.ServiceAccount
	claim      *corev1.PersistentVolumeClaim
	policy     *networkingv1.NetworkPolicy
	budget     *policyv1.PodDisruptionBudget
	monitor    map[string]any // its type is an extension's
}

func decode(t *testing.T, files map[string]string) *objects {
	t.Helper()
	all := objects{services: map[string]*corev1.Service{}}
	for _, doc := range manifests(files) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		var into any
		switch kind.Kind {
		case "Deployment":
			all.deployment = &appsv1.Deployment{}
			into = all.deployment
		case "Service":
			into = &corev1.Service{}
		case "ConfigMap":
			all.config = &corev1.ConfigMap{}
			into = all.config
		case "ServiceAccount":
			all.account = &corev1.ServiceAccount{}
			into = all.account
		case "PersistentVolumeClaim":
			all.claim = &corev1.PersistentVolumeClaim{}
			into = all.claim
		case "NetworkPolicy":
			all.policy = &networkingv1.NetworkPolicy{}
			into = all.policy
		case "PodDisruptionBudget":
			all.budget = &policyv1.PodDisruptionBudget{}
			into = all.budget
		case "ServiceMonitor":
			into = &all.monitor
		default:
			t.Fatalf("the chart makes a %q: what must hold for it?", kind.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
		if service, ok := into.(*corev1.Service); ok {
			all.services[service.Name] = service
		}
	}
	if all.deployment == nil {
		t.Fatal("there is no Deployment")
	}
	return &all
}

// with returns values in which the value at a path such as "audit.claim.size" is another. The given ones stay as
// they are.
func with(values map[string]any, changes map[string]any) map[string]any {
	for _, at := range slices.Sorted(maps.Keys(changes)) {
		values = change(values, strings.Split(at, "."), changes[at])
	}
	return values
}

func change(in map[string]any, at []string, value any) map[string]any {
	out := maps.Clone(in)
	if out == nil {
		out = map[string]any{}
	}
	if len(at) == 1 {
		out[at[0]] = value
		return out
	}
	below, _ := out[at[0]].(map[string]any)
	out[at[0]] = change(below, at[1:], value)
	return out
}

// list makes a list as YAML has it.
func list(items ...any) []any { return items }

// object makes an object out of names and values that take turns.
func object(pairs ...any) map[string]any {
	o := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		o[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return o
}
