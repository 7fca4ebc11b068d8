package resources_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

const statusAddr = "data.cc_key_server_status.test"

// TestKeyServerStatus asks a server that runs, the same by its listener, and
// then one that does not run any more.
func TestKeyServerStatus(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	admin := testhost.FreeAddress(t)
	f.further = fmt.Sprintf("  admin = { listen = %q }", admin)
	inDirectory := `
data "cc_key_server_status" "test" {
  host      = cc_key_server.test.host
  directory = cc_key_server.test.id
}
`
	listener := `
data "cc_key_server_status" "test" {
  admin   = { address = cc_key_server.test.admin_address }
  timeout = "20s"
}
`
	ready := resource.ComposeAggregateTestCheckFunc(
		resource.TestCheckResourceAttr(statusAddr, "state", "ready"),
		resource.TestCheckNoResourceAttr(statusAddr, "reason"),
		resource.TestCheckResourceAttr(statusAddr, "released", "0"),
		resource.TestCheckResourceAttr(statusAddr, "refused", "0"),
		resource.TestCheckResourceAttr(statusAddr, "problems.#", "0"),
		resource.TestCheckResourceAttrPair(statusAddr, "config_sha256", keyServerAddr, "config_sha256"),
		resource.TestCheckResourceAttrSet(statusAddr, "certificate_expires"),
		resource.TestCheckResourceAttrSet(statusAddr, "started"),
	)
	accept(t,
		resource.TestStep{Config: f.config() + inDirectory, Check: ready},
		resource.TestStep{Config: f.config() + listener, Check: ready},
		resource.TestStep{ // by itself: what is known is that nobody answers
			PreConfig: f.kill,
			Config:    strings.Replace(listener, "cc_key_server.test.admin_address", quote("127.0.0.1:1"), 1),
			Check: resource.ComposeAggregateTestCheckFunc(
				resource.TestCheckResourceAttr(statusAddr, "state", "unreachable"),
				resource.TestCheckResourceAttrWith(statusAddr, "reason", func(s string) error {
					if !strings.Contains(s, "connection refused") {
						return fmt.Errorf("the reason is %q", s)
					}
					return nil
				}),
				resource.TestCheckNoResourceAttr(statusAddr, "released"),
			),
		},
	)
}

// TestKeyServerStatusInACheck uses it as it is meant to be: what is wrong is
// found by an assertion, and keeps nobody from going on.
func TestKeyServerStatusInACheck(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, fmt.Sprintf(`
check "key_server" {
  data "cc_key_server_status" "test" {
    host = { ssh = { address = %q, host_keys = [%q], private_key_file = %q } }
  }
  assert {
    condition     = data.cc_key_server_status.test.state == "ready"
    error_message = "The key server is ${data.cc_key_server_status.test.state}."
  }
}
`, "127.0.0.1:1", testhost.NewKey(t, t.TempDir()+"/host"), testKey(t)))
	if out := w.terraform("apply", "-auto-approve"); !strings.Contains(out, "The key server is unreachable.") {
		t.Errorf("the check says nothing:\n%s", out)
	}
}

func testKey(t *testing.T) string {
	t.Helper()
	name := t.TempDir() + "/id"
	testhost.NewKey(t, name)
	return name
}

func TestKeyServerStatusRejects(t *testing.T) {
	t.Parallel()
	config := func(arguments string) string {
		return "data \"cc_key_server_status\" \"test\" {\n" + arguments + "\n}\n"
	}
	rejects(t, []rejection{
		{"neither", config(""), "Exactly one of host and admin is needed."},
		{"listener in the open", config(`admin = { address = "192.0.2.7:9433" }`), "beyond this machine an admin listener speaks mutual TLS, so ca, certificate and private_key are needed"},
		{"process elsewhere", config("host = { ssh = { address = \"h\", known_hosts = \"k\" } }\ndirectory = \"/srv\""), "directory goes with host = { local = {} } and without container_name"},
	})
}
