package charttest

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
)

var update = flag.Bool("update", false, "write the golden renders anew")

// TestGolden holds what the chart makes of each example against what was looked at.
func TestGolden(t *testing.T) {
	examples := valueFiles(t)
	renders := map[string]map[string]any{}
	for name, file := range examples {
		renders[name] = readValues(t, file)
		if signed, _ := renders[name]["signedConfig"].(map[string]any); signed["configMapName"] != nil {
			// What the user signs is made in this way.
			renders[name+"-unsigned"] = with(renders[name], object("signedConfig.configMapName", "", "signedConfig.verifyKeys", list()))
		}
	}
	for name, values := range renders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := mustRender(t, values)
			var got strings.Builder
			for _, doc := range manifests(files) {
				got.WriteString("---\n" + doc)
			}
			got.WriteString("--- # NOTES.txt\n")
			for line := range strings.Lines(files["NOTES.txt"]) {
				got.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
			}
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil { //nolint:gosec // It is no secret.
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; run the test with -update and look at what it writes", err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("the render (-golden +now), to be accepted with -update:\n%s", diff)
			}
		})
	}
	golden, err := filepath.Glob("testdata/*.golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range golden {
		if name := strings.TrimSuffix(filepath.Base(f), ".golden.yaml"); renders[name] == nil {
			t.Errorf("%s is of no example: %v", f, slices.Sorted(maps.Keys(renders)))
		}
	}
}

// TestLint is 'helm lint' with each example. The chart by itself is not meant to be complete.
func TestLint(t *testing.T) {
	kube, err := common.ParseKubeVersion("v1.30.0")
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range valueFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := lint.RunAll(chartDir, readValues(t, file), "confidential", lint.WithKubeVersion(kube))
			for _, m := range result.Messages {
				if strings.Contains(m.Error(), "icon is recommended") {
					continue // a picture says nothing about keys
				}
				t.Error(m)
			}
		})
	}
}

// TestNumbersSurvive: Helm hands numbers on as floating-point ones.
func TestNumbersSurvive(t *testing.T) {
	files := mustRender(t, readValues(t, valueFiles(t)["production"]))
	for _, want := range []string{
		"flags_mask: 9007199254740991\n", "min_evaluation_number: 17\n", "unfinished_handshakes: 2048\n",
		`- "1111111111111111111111111111111111111111111111111111111111111111"`,
		"1111111111111111111111111111111e22222222222222222222222222222222",
	} {
		if !strings.Contains(files["configmap.yaml"], want) {
			t.Errorf("the configuration does not hold %q:\n%s", want, files["configmap.yaml"])
		}
	}
}
