package ecssim

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const region = "cn-beijing"

// cloud is a simulator with a caller that signs.
type cloud struct {
	t   *testing.T
	sim *Server
	url string
}

func newCloud(t *testing.T, opts Options) *cloud {
	t.Helper()
	sim, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	t.Cleanup(func() { web.Close(); sim.Close() })
	return &cloud{t, sim, web.URL}
}

// version guesses the product of an action.
func version(action string) string {
	for version, table := range map[string]map[string]func(*Server, *call) (reply, error){vpcVersion: vpcActions, stsVersion: stsActions, billingVersion: billingActions, locationVersion: locationActions, kmsVersion: kmsActions} {
		if _, ok := table[action]; ok {
			return version
		}
	}
	return ecsVersion
}

func signed(action string, arguments map[string]string) params {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:])
	p := params{
		"Action": action, "Version": version(action), "Format": "JSON", "RegionId": region, "AccessKeyId": DefaultAccessKey, "SignatureMethod": "HMAC-SHA1",
		"SignatureVersion": "1.0", "SignatureNonce": hex.EncodeToString(nonce[:]), "Timestamp": time.Now().UTC().Format(timestampFormat),
	}
	for k, v := range arguments {
		p[k] = v
	}
	return p
}

// send makes a request with everything but names in form in the query.
func (c *cloud) send(method string, p params, form func(string) bool) (int, map[string]any) {
	c.t.Helper()
	if p["Signature"] == "" {
		p["Signature"] = sign(stringToSign(method, p), DefaultSecretKey)
	}
	query, body := url.Values{}, url.Values{}
	for k, v := range p {
		if form != nil && form(k) {
			body.Set(k, v)
		} else {
			query.Set(k, v)
		}
	}
	req, err := http.NewRequest(method, c.url+"/?"+query.Encode(), strings.NewReader(body.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, map[string]any{"error": err.Error()}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, map[string]any{"error": err.Error()}
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		return resp.StatusCode, map[string]any{"raw": string(data)}
	}
	return resp.StatusCode, out
}

// ask makes a call that must succeed.
func (c *cloud) ask(action string, arguments map[string]string) map[string]any {
	c.t.Helper()
	status, out := c.send(http.MethodPost, signed(action, arguments), func(k string) bool { _, ok := arguments[k]; return ok })
	if status != http.StatusOK {
		c.t.Fatalf("%s %v: HTTP %d %v", action, arguments, status, out)
	}
	return out
}

// refused makes a call that must fail with a code.
func (c *cloud) refused(status int, code, action string, arguments map[string]string) map[string]any {
	c.t.Helper()
	got, out := c.send(http.MethodPost, signed(action, arguments), nil)
	if got != status || out["Code"] != code {
		c.t.Errorf("%s %v: HTTP %d %v, want %d %s", action, arguments, got, out, status, code)
	}
	return out
}

// at walks into an answer: at(x, "Instances", "Instance", 0, "Status").
func at(v any, way ...any) any {
	for _, step := range way {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			l, _ := v.([]any)
			if s >= len(l) {
				return nil
			}
			v = l[s]
		}
	}
	return v
}

func text(v any) string { s, _ := v.(string); return s }

func size(v any) int { l, _ := v.([]any); return len(l) }

// network makes a VPC with a vSwitch and a group.
func (c *cloud) network() (vpc, vswitch, group string) {
	c.t.Helper()
	vpc = text(c.ask("CreateVpc", map[string]string{"CidrBlock": "10.0.0.0/16"})["VpcId"])
	vswitch = text(c.ask("CreateVSwitch", map[string]string{"VpcId": vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": "cn-beijing-h"})["VSwitchId"])
	group = text(c.ask("CreateSecurityGroup", map[string]string{"VpcId": vpc, "SecurityGroupName": "test"})["SecurityGroupId"])
	return vpc, vswitch, group
}

func (c *cloud) machine(vswitch, group string, more map[string]string) string {
	c.t.Helper()
	arguments := map[string]string{
		"InstanceType": "ecs.c7.large", "VSwitchId": vswitch, "SecurityGroupIds.1": group, "ImageId": "aliyun_3_x64_20G_alibase_20260513.vhd",
	}
	for k, v := range more {
		arguments[k] = v
	}
	return text(at(c.ask("RunInstances", arguments), "InstanceIdSets", "InstanceIdSet", 0))
}

func (c *cloud) status(id string) string {
	c.t.Helper()
	return text(at(c.ask("DescribeInstances", map[string]string{"InstanceIds": `["` + id + `"]`}), "Instances", "Instance", 0, "Status"))
}
