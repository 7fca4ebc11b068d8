package doctor

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// simulateCloud serves a simulator and returns settings that name it.
func simulateCloud(t *testing.T) (*ecssim.Server, map[string]string) {
	t.Helper()
	sim, err := ecssim.New(ecssim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ecssim.Listen("127.0.0.1:0", sim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	url := "http://" + l.Addr
	return sim, map[string]string{
		"region": "cn-beijing", "access_key": ecssim.DefaultAccessKey, "secret_key": ecssim.DefaultSecretKey,
		"endpoints.ecs": url, "endpoints.vpc": url, "endpoints.sts": url,
	}
}

func TestCloud(t *testing.T) {
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	profiles := filepath.Join(t.TempDir(), "config.json")
	text := `{"profiles":[{"name":"dev","mode":"AK","access_key_id":"` + ecssim.DefaultAccessKey + `","access_key_secret":"` + ecssim.DefaultSecretKey + `"}]}`
	if err := os.WriteFile(profiles, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const secret = "aSecretThatMustNotBeShown"
	for _, tt := range []struct {
		name     string
		change   map[string]string // "" removes
		faults   []ecssim.Fault
		wanted   bool
		want     []string // beginnings
		remedies string
		err      error
	}{
		{"good", nil, nil, false, []string{
			"cloud credentials ok access_key and secret_key, for region cn-beijing", "cloud account ok 1000000000000001, answered in ", "cloud ECS ok region cn-beijing has ",
		}, "", nil},
		{"a profile", map[string]string{"access_key": "", "secret_key": "", "profile": "dev", "shared_credentials_file": profiles}, nil, false, []string{
			`cloud credentials ok profile "dev" of ` + profiles + ", for region cn-beijing", "cloud account ok ", "cloud ECS ok ",
		}, "", nil},
		{"a profile that a key hides", map[string]string{"profile": "dev"}, nil, false, []string{
			"cloud credentials ok access_key", `cloud credentials warn the profile "dev" is not looked at: an access key counts before it`, "cloud account ok ", "cloud ECS ok ",
		}, "unset the one that is not meant", nil},
		{"a profile that is missing", map[string]string{"access_key": "", "secret_key": "", "profile": "prod", "shared_credentials_file": profiles}, nil, false, []string{
			`cloud credentials fail find Alibaba Cloud credentials: profile "prod" is in none of: ` + profiles,
		}, "set ALICLOUD_REGION", nil},
		{"a key that is not accepted", map[string]string{"secret_key": secret}, nil, false, []string{
			"cloud credentials ok ", "cloud account fail call GetCallerIdentity: SignatureDoesNotMatch", "cloud ECS skip the account could not be asked",
		}, "secret", nil},
		{"no rights", nil, []ecssim.Fault{ecssim.Refused("DescribeZones", http.StatusForbidden, "Forbidden.RAM", 100)}, false, []string{
			"cloud credentials ok ", "cloud account ok ", "cloud ECS fail call DescribeZones: Forbidden.RAM",
		}, "RAM", nil},
		{"half a key", map[string]string{"secret_key": ""}, nil, false, []string{"cloud credentials fail find Alibaba Cloud credentials: access_key and secret_key: only one of the two is set"}, "set ALICLOUD_REGION", nil},
		{"no region", map[string]string{"region": ""}, nil, false, []string{"cloud credentials fail configure Alibaba Cloud: region is not set"}, "set ALICLOUD_REGION", nil},
		{"nothing", map[string]string{"region": "", "access_key": "", "secret_key": ""}, nil, false, []string{
			"cloud credentials skip none are set in the environment; only resources in the cloud need any",
		}, "", nil},
		{"nothing, and asked for", map[string]string{"region": "", "access_key": "", "secret_key": ""}, nil, true, []string{
			"cloud credentials fail configure Alibaba Cloud: region is not set",
		}, "set ALICLOUD_REGION", nil},
		{"nobody there", map[string]string{"endpoints.sts": "http://127.0.0.1:1"}, nil, false, []string{
			"cloud credentials ok ", "cloud account fail call GetCallerIdentity: ", "cloud ECS skip ",
		}, "port 443", ErrUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sim, settings := simulateCloud(t)
			sim.Inject(tt.faults...)
			for k, v := range tt.change {
				settings[k] = v
			}
			findings, err := Run(t.Context(), Cloud(CloudOptions{
				Setting: func(name string) string { return settings[name] }, Wanted: tt.wanted, Pace: ecs.Backoff{Min: time.Millisecond, Max: time.Millisecond},
			}))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, findings, tt.want, tt.remedies, tt.err)
			for _, l := range lines(findings) {
				if strings.Contains(l, secret) || strings.Contains(l, ecssim.DefaultSecretKey) {
					t.Errorf("%q has the secret", l)
				}
			}
		})
	}
}

// expect compares findings by how they begin, and wants a remedy in every one that is bad.
func expect(t *testing.T, findings []Finding, want []string, remedies string, wantErr error) {
	t.Helper()
	got := lines(findings)
	if len(got) != len(want) {
		t.Fatalf("%d findings, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	all, failure := "", error(nil)
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%q, want %q", got[i], want[i])
		}
		f := findings[i]
		if bad := f.Status == Warn || f.Status == Fail; bad && f.Remedy == "" {
			t.Errorf("%q says not what to do", got[i])
		}
		all += f.Remedy + "\n"
		if f.Err != nil {
			failure = f.Err
		}
	}
	if !strings.Contains(all, remedies) || remedies == "" && strings.TrimSpace(all) != "" {
		t.Errorf("remedies %q, want %q in them", all, remedies)
	}
	if !errorIs(failure, wantErr) {
		t.Errorf("error %v, want %v", failure, wantErr)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("ALICLOUD_REGION", "")
	t.Setenv("ALIBABA_CLOUD_REGION", "cn-shanghai")
	if diff := cmp.Diff("cn-shanghai", Environment("region")); diff != "" {
		t.Error(diff)
	}
}
