// Command terraform-provider-cc is the Terraform provider ccctl/cc. Terraform
// starts it; run by hand it only says so. With -debug it waits for Terraform
// to be pointed at it, for use under a debugger.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
)

// address is the provider's source address in full, as Terraform reports it.
const address = "registry.terraform.io/ccctl/cc"

func main() {
	debugger := flag.Bool("debug", false, "keep running and print how to attach Terraform, for use under a debugger")
	flag.Parse()
	if !logWanted(os.Environ()) {
		for _, name := range sdkLogs {
			_ = os.Setenv(name, "OFF")
		}
	}

	err := providerserver.Serve(context.Background(), provider.New(version()), providerserver.ServeOpts{
		Address:         address,
		Debug:           *debugger,
		ProtocolVersion: 6,
	})
	if err != nil {
		// Standard output belongs to the handshake with Terraform.
		_, _ = fmt.Fprintf(os.Stderr, "terraform-provider-cc: %v\n", err)
		os.Exit(1)
	}
}

// sdkLogs set the levels of what Terraform's SDK and this provider log. Unset
// they mean all of it.
var sdkLogs = []string{"TF_LOG_SDK", "TF_LOG_SDK_FRAMEWORK", "TF_LOG_SDK_PROTO", "TF_LOG_PROVIDER"}

// logWanted tells whether anybody asked for a log. If not, Terraform still
// reads every line that a provider writes, and throws it away: for a plan of
// 100 resources that is a third of the work.
func logWanted(environment []string) bool {
	for _, v := range environment {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "TF_LOG") && name != "TF_LOG_PATH" && value != "" {
			return true
		}
	}
	return false
}

// version tells which build this is, from what the Go toolchain recorded.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
