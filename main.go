// Command terraform-provider-cc is the Terraform provider ccctl/cc. Terraform
// starts it; run by hand it only says so. With -debug it waits for Terraform
// to be pointed at it, for use under a debugger.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/version"
)

// address is the provider's source address in full, as Terraform reports it.
const address = "registry.terraform.io/ccctl/cc"

func main() {
	debugger := flag.Bool("debug", false, "keep running and print how to attach Terraform, for use under a debugger")
	printVersion := flag.Bool("version", false, "print which build this is, and end")
	printJSON := flag.Bool("json", false, "with -version: print it as JSON")
	flag.Parse()
	if *printVersion {
		if err := writeVersion(os.Stdout, *printJSON); err != nil {
			_, _ = fmt.Fprintf(os.Stderr, "terraform-provider-cc: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if !logWanted(os.Environ()) {
		for _, name := range sdkLogs {
			_ = os.Setenv(name, "OFF")
		}
	}

	err := providerserver.Serve(context.Background(), provider.New(version.Read().Version), providerserver.ServeOpts{
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

// writeVersion tells which build this is, in the words of `ccctl version`.
func writeVersion(w io.Writer, asJSON bool) error {
	info := version.Read()
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(info)
	}
	_, err := fmt.Fprintln(w, "terraform-provider-cc", info)
	return err
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
