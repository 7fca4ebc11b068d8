package deploy

import (
	"slices"
	"strings"
)

// serverVariables are the environment variables that a key server is started
// with: what it needs to find time zones, certification authorities and a
// proxy. Anything else, above all a cloud account's keys, stays here.
var serverVariables = []string{
	"HOME", "PATH", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
}

// keyServerEnvironment picks from an environment what the server may see. A
// proxy with a password is left out: the environment of a process can be read
// for as long as it runs.
func keyServerEnvironment(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !slices.Contains(serverVariables, name) {
			continue
		}
		if strings.Contains(strings.ToLower(name), "proxy") && strings.Contains(value, "@") {
			continue
		}
		kept = append(kept, entry)
	}
	return kept
}
