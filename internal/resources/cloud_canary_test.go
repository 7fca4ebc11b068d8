package resources_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// temporaryKey is a key of STS.
type temporaryKey struct{ AccessKeyId, AccessKeySecret, SecurityToken string }

func (c *cloud) temporaryKey() temporaryKey {
	c.t.Helper()
	out, err := c.sim.Do("cn-beijing", "AssumeRole", map[string]string{"RoleArn": "acs:ram::1000000000000001:role/demo", "RoleSessionName": "canary"})
	c.check(err)
	data, err := json.Marshal(out["Credentials"])
	c.check(err)
	var k temporaryKey
	c.check(json.Unmarshal(data, &k))
	return k
}

// TestCloudCanary plants a temporary key and a password, with characters that
// URLs encode, and makes calls fail in every way that could show them: a
// service that repeats the password, one that answers with the string it
// believes to have been signed, connections that end, and answers that are not
// the service's. Nothing of either may be in what Terraform prints, in its log
// at TRACE with the SDK's own debugging on, nor in state and plans.
func TestCloudCanary(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	key := c.temporaryKey()
	const password, badPassword = "Canary+Pass/w0rd 7=", "canary+only/lower case"
	config := strings.TrimPrefix(c.instanceConfig(`name = "planted-name"`, "bootstrap = false", "password_wo = var.password", "password_wo_version = 1"), c.provider()) +
		"variable \"password\" {\n  type      = string\n  ephemeral = true\n}\n"
	w := newWorkspace(t, config)
	with := func(password, secret string) {
		w.env = append(c.environment(), "ALICLOUD_ACCESS_KEY="+key.AccessKeyId, "ALICLOUD_SECRET_KEY="+secret, "ALICLOUD_SECURITY_TOKEN="+key.SecurityToken,
			"TF_VAR_password="+password, "DEBUG=sdk")
	}
	failing := func(want string, faults ...ecssim.Fault) {
		t.Helper()
		c.sim.Inject(faults...)
		if stderr := w.fails("apply", "-auto-approve"); !says(want).MatchString(stderr) {
			t.Errorf("%q is not in:\n%s", want, stderr)
		}
		c.sim.ClearFaults()
	}
	wrong := strings.Repeat("wrong+/", 5)
	with(password, wrong)
	failing("SignatureDoesNotMatch") // with the string to sign, arguments and all
	with(badPassword, key.AccessKeySecret)
	failing("InvalidPassword.Malformed") // with the password
	with(password, key.AccessKeySecret)
	failing("InvalidSecurityToken.Expired", ecssim.Fault{Action: "RunInstances", Times: 1, Status: http.StatusBadRequest, Code: "InvalidSecurityToken.Expired", Message: "Token " + key.SecurityToken + " of " + key.AccessKeyId + " for " + password})
	failing("QuotaExceed.ElasticQuota", ecssim.Refused("RunInstances", http.StatusForbidden, "QuotaExceed.ElasticQuota", 1))
	c.sim.Inject(ecssim.Cut("RunInstances", 1), ecssim.Fault{Action: "RunInstances", Raw: "<html>" + password + " " + key.SecurityToken, Times: 1})
	w.planAndApply("create")
	w.planAndApply("destroy", "-destroy")

	places := w.places()
	for place, text := range places {
		if !bytes.Contains(text, []byte("planted-name")) {
			t.Errorf("the search is blind: nothing is found in the %s", place)
		}
	}
	log := mustRead(t, filepath.Join(w.aside, "trace.log"))
	for _, seen := range []string{"RunInstances", "SignatureDoesNotMatch", "InvalidPassword.Malformed"} {
		if !bytes.Contains(log, []byte(seen)) {
			t.Errorf("the log has no %s", seen)
		}
	}
	for name, secret := range map[string]string{
		"password": password, "refused password": badPassword, "STS token": key.SecurityToken, "STS secret": key.AccessKeySecret, "STS key id": key.AccessKeyId, "wrong secret": wrong,
	} {
		for place, text := range places {
			if form := findSecret(text, []byte(secret)); form != "" {
				t.Errorf("the %s is in the %s, as %s", name, place, form)
			}
		}
	}
}
