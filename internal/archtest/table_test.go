package archtest

// rule says what a package may import beside the standard library.
type rule struct {
	ours       []string // packages below the module, or a tree ("internal/sgxcrypto/...")
	thirdParty []string // module paths or prefixes of them
}

const module = "github.com/ccctl/terraform-provider-cc"

// table is the import table of ARCHITECTURE.md. A package that is missing here
// fails the test: decide what it may import before it is written.
var table = map[string]rule{
	// L0: formats. They know nothing of each other but what is listed, and
	// nothing of files, clocks, networks or Terraform.
	"internal/sgxcrypto/protectedfile": {thirdParty: []string{"golang.org/x/crypto"}},
	"internal/sgxcrypto/sigstruct":     {thirdParty: []string{"golang.org/x/crypto"}},
	"internal/sgxcrypto/manifest": {
		ours:       []string{"internal/sgxcrypto/protectedfile", "internal/sgxcrypto/sigstruct"},
		thirdParty: []string{"github.com/BurntSushi/toml"},
	},
	"internal/sgxcrypto/quote": {thirdParty: []string{"golang.org/x/crypto"}},
	"internal/sgxcrypto/dcap":  {ours: []string{"internal/sgxcrypto/quote"}},
	"internal/sgxcrypto/ratls": {
		ours:       []string{"internal/sgxcrypto/quote", "internal/sgxcrypto/dcap"},
		thirdParty: []string{"github.com/fxamacker/cbor/v2"},
	},
	"internal/serving/tlsmaterials": {},
	"internal/serving/graphwire":    {thirdParty: []string{"google.golang.org/protobuf/encoding/protowire"}},
	"internal/serving/graphopt": {
		ours:       []string{"internal/serving/graphwire"},
		thirdParty: []string{"google.golang.org/protobuf/encoding/protowire"},
	},
	"internal/serving/savedmodel": {
		ours:       []string{"internal/serving/graphwire", "internal/serving/graphopt"},
		thirdParty: []string{"google.golang.org/protobuf/encoding/protowire"},
	},
	"internal/serving/graphtext": {thirdParty: []string{"google.golang.org/protobuf/encoding/protowire"}},

	// A leaf for everyone who writes files.
	"internal/atomicfile": {},
	// A leaf for the entry points: which build they are.
	"internal/version": {},

	// L1: talk to something.
	"internal/sgxcrypto/pccs": {
		ours:       []string{"internal/sgxcrypto/dcap", "internal/atomicfile"},
		thirdParty: []string{"golang.org/x/sync"},
	},
	"internal/ecs": {thirdParty: []string{"github.com/aliyun/alibaba-cloud-sdk-go/sdk"}},
	"internal/keyserver": {
		ours: []string{
			"internal/sgxcrypto/ratls", "internal/sgxcrypto/dcap", "internal/sgxcrypto/pccs",
			"internal/sgxcrypto/quote", "internal/atomicfile", "internal/keysource",
			"internal/keyserver/admission", "internal/keyserver/audit", "internal/keyserver/configsign", "internal/keyserver/console",
			"internal/keyserver/scalar", "internal/keyserver/earlytcb", "internal/keyserver/custody",
			"internal/keyserver/metrics", "internal/keyserver/protocol", "internal/keyserver/statefile",
		},
		thirdParty: []string{"go.yaml.in/yaml/v4", "golang.org/x/time"},
	},
	"internal/keysource": {thirdParty: []string{"golang.org/x/sys"}},
	"internal/keysource/vaultkey": {
		ours:       []string{"internal/keysource"},
		thirdParty: []string{"github.com/hashicorp/vault/api"},
	},
	"internal/keysource/kmskey": {ours: []string{"internal/keysource", "internal/ecs"}},
	"internal/keysource/keyref": {ours: []string{"internal/keysource", "internal/keysource/vaultkey", "internal/keysource/kmskey"}},
	"internal/remote": {
		ours:       []string{"internal/atomicfile", "internal/ecs"}, // Cloud Assistant is a way to a machine too
		thirdParty: []string{"golang.org/x/crypto/ssh", "github.com/pkg/sftp", "golang.org/x/sys"},
	},
	"internal/image":               {thirdParty: []string{"github.com/google/go-containerregistry"}},
	"internal/keyserver/admission": {},
	"internal/keyserver/audit": {
		ours:       []string{"internal/atomicfile", "internal/keyserver/filelock"},
		thirdParty: []string{"golang.org/x/mod/sumdb/note"},
	},
	"internal/keyserver/configsign": {thirdParty: []string{"golang.org/x/mod/sumdb/note"}},
	"internal/keyserver/scalar":     {thirdParty: []string{"go.yaml.in/yaml/v4"}},
	"internal/keyserver/console":    {ours: []string{"internal/keyserver/admission"}},
	"internal/keyserver/earlytcb": {
		ours: []string{"internal/keyserver/console", "internal/sgxcrypto/dcap", "internal/sgxcrypto/quote"},
	},
	"internal/keyserver/custody": {
		ours: []string{"internal/keysource", "internal/keysource/kmskey", "internal/keysource/vaultkey"},
	},
	"internal/keyserver/filelock":  {},
	"internal/keyserver/metrics":   {},
	"internal/keyserver/protocol":  {},
	"internal/keyserver/raconfig":  {ours: []string{"internal/keyserver"}, thirdParty: []string{"go.yaml.in/yaml/v4"}},
	"internal/keyserver/statefile": {ours: []string{"internal/keyserver/filelock"}},

	// L2: use-cases without Terraform types.
	"internal/deploy": {
		ours: []string{
			"internal/sgxcrypto/...", "internal/serving/...", "internal/keyserver", "internal/keyserver/custody", "internal/keyserver/filelock", "internal/atomicfile", "internal/ecs",
			"internal/remote", "internal/image",
		},
		thirdParty: []string{"go.yaml.in/yaml/v4"},
	},

	"internal/doctor": {
		ours: []string{
			"internal/deploy", "internal/ecs", "internal/keyserver", "internal/remote", "internal/sgxcrypto/dcap", "internal/sgxcrypto/pccs",
		},
	},

	// L3: Terraform.
	"internal/resources": {
		ours: []string{"internal/deploy", "internal/remote", "internal/ecs", "internal/keysource", "internal/keysource/kmskey", "internal/keysource/vaultkey", "internal/sgxcrypto/...", "internal/serving/...", "internal/atomicfile"},
		thirdParty: []string{
			"github.com/hashicorp/terraform-plugin-framework",
			"github.com/hashicorp/terraform-plugin-framework-validators",
			"github.com/hashicorp/terraform-plugin-framework-timeouts",
			"github.com/hashicorp/terraform-plugin-log",
		},
	},
	"internal/provider": {
		ours:       []string{"internal/resources", "internal/ecs", "internal/keysource"},
		thirdParty: []string{"github.com/hashicorp/terraform-plugin-framework"},
	},

	// L4: entry points.
	".": {
		ours:       []string{"internal/provider", "internal/version"},
		thirdParty: []string{"github.com/hashicorp/terraform-plugin-framework/providerserver"},
	},
	"cmd/ccctl": {
		ours: []string{
			"internal/deploy", "internal/doctor", "internal/keysource", "internal/keysource/...", "internal/keyserver", "internal/keyserver/audit", "internal/keyserver/configsign", "internal/keyserver/console", "internal/keyserver/raconfig", "internal/sgxcrypto/...", "internal/serving/...", "internal/atomicfile", "internal/version",
		},
		thirdParty: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/schollz/progressbar/v3", "golang.org/x/term", "go.yaml.in/yaml/v4",
			"golang.org/x/crypto/x509roots/fallback",
		},
	},

	// The outside world, impersonated at its wire. No simulator shares code
	// with what it is there to test.
	"internal/sim/ecssim": {},
	"internal/sim/sgxsim": {
		ours: []string{"internal/sgxcrypto/quote", "internal/sgxcrypto/ratls", "internal/atomicfile"},
	},
	// What makes and checks a release is in none.
	"internal/release": {ours: []string{"internal/image", "internal/version"}},
	"cmd/ccrelease":    {ours: []string{"internal/atomicfile", "internal/release"}},
	"cmd/ccsim": {
		ours:       []string{"internal/sim/...", "internal/sgxcrypto/protectedfile", "internal/atomicfile"},
		thirdParty: []string{"github.com/spf13/cobra"},
	},

	// Tests only.
	"internal/archtest":          {},
	"internal/doccheck":          {},
	"internal/testshared":        {},
	"internal/testfault":         {ours: []string{"internal/testshared"}},
	"internal/serving/graphtest": {thirdParty: []string{"google.golang.org/protobuf"}},
	"internal/testhost": {
		ours:       []string{"internal/testshared"},
		thirdParty: []string{"golang.org/x/crypto/ssh"},
	},
}

// pure lists the trees that may not look at the clock, the environment or a
// logger: what they compute depends on their arguments alone.
var pure = []string{
	"internal/sgxcrypto/protectedfile", "internal/sgxcrypto/sigstruct", "internal/sgxcrypto/manifest", "internal/sgxcrypto/quote",
	"internal/sgxcrypto/dcap", "internal/sgxcrypto/ratls", "internal/serving/",
}

// impure are the calls that those trees do without.
var impure = map[string][]string{
	"time": {"Now", "Since", "Until"},
	"os":   {"Getenv", "LookupEnv", "Environ"},
	"log":  nil, // nil: the package as a whole
	// Types may say how they are logged (slog.LogValuer), and not log.
	"slog": {"Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext", "Log", "Default", "New", "With"},
}

// binaries says what must not be linked into a release binary.
var binaries = map[string][]string{
	// Package testing itself comes with go-plugin, which the framework serves through.
	".": {
		module + "/internal/sim", module + "/internal/testshared", module + "/internal/testhost", module + "/internal/testfault", module + "/internal/serving/graphtest", module + "/cmd/ccsim",
		"github.com/hashicorp/terraform-plugin-testing", "github.com/rogpeppe/go-internal",
		"pgregory.net/rapid", "github.com/google/go-cmp", "net/http/httptest", "net/http/pprof",
	},
	"./cmd/ccctl": {
		"testing", module + "/internal/sim", module + "/internal/testshared", module + "/internal/testhost", module + "/internal/testfault", module + "/internal/serving/graphtest", module + "/cmd/ccsim",
		module + "/internal/provider", module + "/internal/resources",
		"github.com/hashicorp/terraform-plugin-framework", "github.com/hashicorp/terraform-plugin-go",
		"github.com/hashicorp/terraform-plugin-testing", "github.com/rogpeppe/go-internal",
		"pgregory.net/rapid", "github.com/google/go-cmp", "net/http/httptest", "net/http/pprof",
	},
}

// Sizes in lines of non-test Go files.
const (
	maxFileLines     = 450
	maxResourceLines = 350
	maxFilesPerPkg   = 12
)

// manyFiles names the packages whose folder is a table of contents: a file a
// resource, a file a command, a file a part of the cloud, a few files a use-case.
var manyFiles = []string{"internal/resources", "internal/deploy", "internal/ecs", "internal/sim/ecssim", "cmd/ccctl"}
