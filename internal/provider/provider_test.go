package provider_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	cc "github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/resources"
)

func schemas(t *testing.T) *tfprotov6.GetProviderSchemaResponse {
	t.Helper()
	server, err := providerserver.NewProtocol6WithError(cc.New("test")())()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range resp.Diagnostics {
		t.Errorf("%s: %s", d.Summary, d.Detail)
	}
	return resp
}

// TestEverythingIsDescribed keeps the generated documentation complete.
func TestEverythingIsDescribed(t *testing.T) {
	resp := schemas(t)
	if len(resp.ResourceSchemas) < 2 {
		t.Fatalf("only %d resources", len(resp.ResourceSchemas))
	}
	if resp.Provider.Block.Description == "" {
		t.Error("the provider has no description")
	}
	for name, s := range resp.ResourceSchemas {
		if s.Block.Description == "" {
			t.Errorf("%s has no description", name)
		}
		described(t, name, s.Block.Attributes)
	}
}

func described(t *testing.T, at string, attributes []*tfprotov6.SchemaAttribute) {
	t.Helper()
	for _, a := range attributes {
		name := at + "." + a.Name
		switch {
		case a.Description == "":
			t.Errorf("%s has no description", name)
		case !strings.HasSuffix(a.Description, ".") || strings.HasSuffix(a.Description, ".."):
			t.Errorf("the description of %s does not end in one full stop: %q", name, a.Description)
		}
		if a.NestedType != nil {
			described(t, name, a.NestedType.Attributes)
		}
	}
}

// TestNoSecretIsStored fails for an argument that takes a secret and is not
// write-only: sensitive values are stored in clear.
func TestNoSecretIsStored(t *testing.T) {
	twins := 0
	for name, s := range schemas(t).ResourceSchemas {
		twins += notStored(t, name, s.Block.Attributes)
		if len(s.Block.BlockTypes) > 0 {
			t.Errorf("%s has blocks, which this test does not look into", name)
		}
	}
	if twins < 8 {
		t.Errorf("only %d write-only arguments are found", twins)
	}
}

// notStored also wants a version beside each write-only argument, whose change Terraform would not notice, and counts
// them.
func notStored(t *testing.T, at string, attributes []*tfprotov6.SchemaAttribute) int {
	t.Helper()
	twins := 0
	for _, a := range attributes {
		name := at + "." + a.Name
		if a.Sensitive && !a.WriteOnly {
			t.Errorf("%s is sensitive and in the state", name)
		}
		if a.WriteOnly {
			twins++
			if !a.Sensitive || !strings.HasSuffix(a.Name, "_wo") {
				t.Errorf("%s is write-only, and not sensitive or not named so", name)
			}
			version := func(b *tfprotov6.SchemaAttribute) bool {
				return b.Name == a.Name+"_version" && b.Type.Is(tftypes.Number) && b.Optional && !b.Computed
			}
			if !slices.ContainsFunc(attributes, version) {
				t.Errorf("%s has no %s_version beside it", name, a.Name)
			}
		}
		if a.NestedType != nil {
			twins += notStored(t, name, a.NestedType.Attributes)
		}
	}
	return twins
}

// TestEveryResourceIsComplete looks for what a resource comes with: an example,
// an import example, tests, and among them the hunt for its secrets.
func TestEveryResourceIsComplete(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(schemas(t).ResourceSchemas)) {
		example := filepath.Join("..", "..", "examples", "resources", name)
		for _, file := range []string{"resource.tf", "import.sh"} {
			if _, err := os.Stat(filepath.Join(example, file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		base := filepath.Join("..", "resources", strings.TrimPrefix(name, "cc_")+"_resource")
		if _, err := os.Stat(base + ".go"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		tests, err := os.ReadFile(base + "_test.go")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(string(tests), "canary{") {
			t.Errorf("%s has no test that searches state, plan and log for its secrets", name)
		}
	}
}

func TestMetadataAndClock(t *testing.T) {
	var meta provider.MetadataResponse
	then := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := cc.New("1.2.3", cc.WithClock(func() time.Time { return then }))()
	p.Metadata(t.Context(), provider.MetadataRequest{}, &meta)
	if meta.TypeName != "cc" || meta.Version != "1.2.3" {
		t.Errorf("metadata is %+v", meta)
	}
	var conf provider.ConfigureResponse
	p.Configure(t.Context(), provider.ConfigureRequest{}, &conf)
	backend, ok := conf.ResourceData.(*resources.Backend)
	if !ok || backend.Version != "1.2.3" || !backend.Now().Equal(then) {
		t.Errorf("resources get %#v", conf.ResourceData)
	}
	for _, r := range p.Resources(t.Context()) {
		if _, ok := r().(resource.ResourceWithImportState); !ok {
			t.Errorf("%T cannot be imported", r())
		}
	}
}
