package ecs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const cliConfig = `{"current":"plain","profiles":[
 {"name":"plain","mode":"AK","access_key_id":"LTAIplainKey","access_key_secret":"plainSecret"},
 {"name":"sts","mode":"StsToken","access_key_id":"STS.key","access_key_secret":"stsSecret","sts_token":"stsToken"},
 {"name":"role","mode":"RamRoleArn","access_key_id":"LTAIplainKey","access_key_secret":"plainSecret","ram_role_arn":"acs:ram::1:role/r","ram_session_name":"s","expired_seconds":1800},
 {"name":"chain","mode":"ChainableRamRoleArn","source_profile":"role","ram_role_arn":"acs:ram::1:role/second"},
 {"name":"loop","mode":"ChainableRamRoleArn","source_profile":"loop2","ram_role_arn":"acs:ram::1:role/r"},
 {"name":"loop2","mode":"ChainableRamRoleArn","source_profile":"loop","ram_role_arn":"acs:ram::1:role/r"},
 {"name":"ecs","mode":"EcsRamRole","ram_role_name":"r"},
 {"name":"sso","mode":"CloudSSO"},
 {"name":"half","mode":"AK","access_key_id":"LTAIplainKey"}]}`

const iniConfig = `# a comment
[dev]
type = access_key
access_key_id = LTAIiniKey
access_key_secret = "iniSecret"

[assume]
type=ram_role_arn
access_key_id=LTAIiniKey
access_key_secret=iniSecret
role_arn=acs:ram::1:role/ini
role_session_name=ini
`

func TestSources(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, ".aliyun", "config.json"), cliConfig)
	write(t, filepath.Join(home, ".alibabacloud", "credentials"), iniConfig)
	shared := write(t, filepath.Join(home, "shared"), iniConfig)
	for _, tt := range []struct {
		name    string
		conf    Credentials
		source  string // contained
		key     string // of a source that needs no call
		wantErr string
	}{
		{name: "static", conf: Credentials{AccessKey: "LTAIa", SecretKey: "b"}, source: "access_key and secret_key", key: "LTAIa"},
		{name: "static before profile", conf: Credentials{AccessKey: "LTAIa", SecretKey: "b", Profile: "plain", HomeDir: home}, source: "access_key", key: "LTAIa"},
		{name: "key alone", conf: Credentials{AccessKey: "LTAIa"}, wantErr: "only one of the two is set"},
		{name: "secret alone", conf: Credentials{SecretKey: "LTAIa"}, wantErr: "only one of the two is set"},
		{name: "token alone", conf: Credentials{SecurityToken: "t"}, wantErr: "security_token without access_key"},
		{name: "line end", conf: Credentials{AccessKey: "LTAIa", SecretKey: "b\n"}, wantErr: "white space"},
		{name: "nothing", conf: Credentials{}, wantErr: "neither access_key and secret_key, nor OIDC, profile or ecs_role_name is set"},
		{name: "profile of the command", conf: Credentials{Profile: "plain", HomeDir: home}, source: `profile "plain" of `, key: "LTAIplainKey"},
		{name: "profile with token", conf: Credentials{Profile: "sts", HomeDir: home}, source: `profile "sts"`, key: "STS.key"},
		{name: "profile of the SDK", conf: Credentials{Profile: "dev", HomeDir: home}, source: ".alibabacloud", key: "LTAIiniKey"},
		{name: "profile of a named file", conf: Credentials{Profile: "dev", ProfileFile: shared}, source: shared, key: "LTAIiniKey"},
		{name: "profile with role", conf: Credentials{Profile: "role", HomeDir: home}, source: `role acs:ram::1:role/r, assumed with profile "role"`},
		{name: "role in an ini", conf: Credentials{Profile: "assume", HomeDir: home}, source: "role acs:ram::1:role/ini"},
		{name: "chain", conf: Credentials{Profile: "chain", HomeDir: home}, source: "role acs:ram::1:role/second, assumed with profile \"chain\""},
		{name: "loop", conf: Credentials{Profile: "loop", HomeDir: home}, wantErr: "leads back to it"},
		{name: "unsupported mode", conf: Credentials{Profile: "sso", HomeDir: home}, wantErr: `has the mode "CloudSSO"`},
		{name: "half a key", conf: Credentials{Profile: "half", HomeDir: home}, wantErr: "only one of the two"},
		{name: "no such profile", conf: Credentials{Profile: "none", HomeDir: home}, wantErr: "config.json (no such profile)"},
		{name: "no home", conf: Credentials{Profile: "none"}, wantErr: "home directory is not known"},
		{name: "missing file", conf: Credentials{Profile: "none", ProfileFile: home + "/no"}, wantErr: "no (missing)"},
		{name: "directory", conf: Credentials{Profile: "none", ProfileFile: home}, wantErr: "not a file"},
		{name: "metadata", conf: Credentials{ECSRoleName: "r"}, source: "RAM role r of this ECS instance"},
		{name: "metadata disabled", conf: Credentials{ECSRoleName: "r", DisableMetadata: true}, wantErr: "ALIBABA_CLOUD_ECS_METADATA_DISABLED forbids"},
		{name: "metadata of a profile, disabled", conf: Credentials{Profile: "ecs", HomeDir: home, DisableMetadata: true}, wantErr: "forbids"},
		{name: "role name", conf: Credentials{ECSRoleName: "a/b"}, wantErr: "is not the name of a RAM role"},
		{name: "OIDC", conf: Credentials{OIDC: &OIDC{ProviderARN: "p", TokenFile: "f", RoleARN: "r"}}, source: "OIDC token in f"},
		{name: "half OIDC", conf: Credentials{OIDC: &OIDC{ProviderARN: "p"}}, wantErr: "all three"},
		{name: "assume role", conf: Credentials{AccessKey: "LTAIa", SecretKey: "b", AssumeRole: &AssumeRole{RoleARN: "acs:ram::1:role/x"}}, source: "role acs:ram::1:role/x, assumed with access_key"},
		{name: "bad role", conf: Credentials{AccessKey: "LTAIa", SecretKey: "b", AssumeRole: &AssumeRole{RoleARN: "x"}}, wantErr: "acs:ram::ACCOUNT:role/NAME"},
		{name: "short session", conf: Credentials{AccessKey: "LTAIa", SecretKey: "b", AssumeRole: &AssumeRole{RoleARN: "acs:ram::1:role/x", Duration: time.Minute}}, wantErr: "shorter than the 15 minutes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(Config{Region: "cn-beijing", Credentials: tt.conf})
			if tt.wantErr != "" {
				mustSay(t, err, "find Alibaba Cloud credentials: ", tt.wantErr)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(c.CredentialSource(), tt.source) {
				t.Errorf("source %q", c.CredentialSource())
			}
			if tt.key != "" {
				if s, err := c.creds.get(t.Context()); err != nil || s.accessKey != tt.key {
					t.Errorf("key %s %v", s.accessKey, err)
				}
			}
		})
	}
}

func TestProfileFileErrorsQuoteNothing(t *testing.T) {
	for _, content := range []string{`{"profiles": canarySecret}`, `{"profiles": "canarySecret"}`, "canarySecret", "[a\ncanarySecret", "[a]\ncanarySecret"} {
		path := write(t, filepath.Join(t.TempDir(), "f"), content)
		_, err := New(Config{Region: "cn-beijing", Credentials: Credentials{Profile: "p", ProfileFile: path}})
		if err == nil {
			t.Errorf("%q was accepted", content)
			continue
		}
		mustHide(t, err.Error(), "canarySecret")
	}
}

const sessionReply = `{"Credentials":{"AccessKeyId":"STS.%d","AccessKeySecret":"sessionSecret","SecurityToken":"sessionToken","Expiration":"%s"}}`

func TestAssumeRole(t *testing.T) {
	life := 10 * time.Minute
	c, f := newFake(t, func(n int, r received) (int, string) {
		if r.merged["Action"] == "AssumeRole" {
			return 200, fmt.Sprintf(sessionReply, n, time.Now().Add(life).UTC().Format(time.RFC3339))
		}
		return 200, "{}"
	})
	base := c.creds
	var err error
	if c.creds, err = base.assuming(c, AssumeRole{RoleARN: "acs:ram::1:role/x", ExternalID: "ext", Policy: "{}"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.call(seconds(t, 5), describeInstances, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	calls := f.all()
	if len(calls) != 3 {
		t.Fatalf("%d calls: a session is to be used again", len(calls))
	}
	if r := calls[0]; r.merged["AccessKeyId"] != "LTAItestAccessKey" || r.merged["RoleArn"] != "acs:ram::1:role/x" || r.merged["ExternalId"] != "ext" || r.merged["DurationSeconds"] != "3600" || r.merged["Version"] != "2015-04-01" {
		t.Errorf("AssumeRole: %v", r.merged)
	}
	if r := calls[1]; r.merged["AccessKeyId"] != "STS.1" || r.merged["SecurityToken"] != "sessionToken" || r.merged["Signature"] != referenceSignature(r.method, r.merged, "sessionSecret") {
		t.Errorf("call of the session: %v", r.merged)
	}
	// A session about to end is renewed.
	life = time.Minute
	c.creds.held = false
	for range 2 {
		if err := c.call(seconds(t, 5), describeInstances, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.all()); n != 7 {
		t.Errorf("%d calls, want each of the two to get a session of its own", n)
	}
}

func TestAssumeRoleRefused(t *testing.T) {
	c, _ := newFake(t, func(int, received) (int, string) { return apiError(404, "EntityNotExist.Role") })
	var err error
	if c.creds, err = c.creds.assuming(c, AssumeRole{RoleARN: "acs:ram::1:role/x"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.FindInstance(seconds(t, 5), "i-1")
	mustSay(t, err, "get credentials from role acs:ram::1:role/x, assumed with access_key and secret_key: call AssumeRole: EntityNotExist.Role")
	if IsNotFound(err) || ClassOf(err) != ClassAuth || RemedyOf(err) == "" {
		t.Errorf("class %s, remedy %q", ClassOf(err), RemedyOf(err))
	}
}

func TestOIDC(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "token"), "canary.oidc.token\n")
	fail := true
	c, f := newFake(t, func(n int, r received) (int, string) {
		if r.merged["Action"] != "AssumeRoleWithOIDC" {
			return 200, "{}"
		}
		if n == 1 {
			return 503, "busy"
		}
		if fail {
			return 400, `{"Code":"AuthenticationFail.OIDCToken.Invalid","Message":"canary.oidc.token is bad"}`
		}
		return 200, fmt.Sprintf(sessionReply, n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	})
	var err error
	if c.creds, err = oidc(c, OIDC{ProviderARN: "p", TokenFile: file, RoleARN: "r"}); err != nil {
		t.Fatal(err)
	}
	err = c.call(seconds(t, 5), describeInstances, nil, nil)
	mustSay(t, err, "AuthenticationFail.OIDCToken.Invalid: (redacted) is bad")
	fail = false
	if err := c.call(seconds(t, 5), describeInstances, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.all() {
		if r.merged["Action"] == "AssumeRoleWithOIDC" && (r.form.Get("OIDCToken") != "canary.oidc.token" || r.query.Get("OIDCToken") != "" || r.merged["Signature"] != "") {
			t.Errorf("%v %v", r.query, r.form)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.creds.held = false
	mustSay(t, c.call(seconds(t, 5), describeInstances, nil, nil), "no such file")
}

func TestMetadata(t *testing.T) {
	answer := `{"Code":"Success","AccessKeyId":"STS.meta","AccessKeySecret":"s","SecurityToken":"t","Expiration":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-aliyun-ecs-metadata-token-ttl-seconds") != "":
			_, _ = w.Write([]byte("token"))
		case r.URL.Path == "/latest/meta-data/ram/security-credentials/role" && r.Header.Get("X-aliyun-ecs-metadata-token") == "token":
			_, _ = w.Write([]byte(answer))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer web.Close()
	get := func(role string) (session, error) {
		c, err := New(Config{Region: "cn-beijing", Credentials: Credentials{ECSRoleName: role, MetadataURL: web.URL}})
		if err != nil {
			t.Fatal(err)
		}
		return c.creds.get(t.Context())
	}
	if s, err := get("role"); err != nil || s.accessKey != "STS.meta" {
		t.Errorf("%s %v", s.accessKey, err)
	}
	_, err := get("other")
	mustSay(t, err, "RAM role other of this ECS instance", "HTTP 404; is the role attached")
	answer = `{"Code":"Failed"}`
	_, err = get("role")
	mustSay(t, err, `code "Failed"`)
	answer = `<html>`
	_, err = get("role")
	mustSay(t, err, "not JSON")
	web.Close()
	_, err = get("role")
	mustSay(t, err, "Is this an ECS instance?")
	if _, err := New(Config{Region: "cn-beijing", Credentials: Credentials{ECSRoleName: "r", MetadataURL: "http://10.0.0.1"}}); err == nil {
		t.Error("a metadata service elsewhere was accepted")
	}
}

func TestRenewalThatFails(t *testing.T) {
	r := &resolver{source: "test"}
	ends := time.Now().Add(time.Minute)
	r.fetch = func(context.Context) (session, error) { return session{accessKey: "a", expires: ends}, nil }
	if _, err := r.get(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.fetch = func(context.Context) (session, error) { return session{}, context.DeadlineExceeded }
	if s, err := r.get(t.Context()); err != nil || s.accessKey != "a" {
		t.Errorf("a session that holds for a minute is thrown away: %v", err)
	}
	r.current.expires = time.Now().Add(-time.Second)
	_, err := r.get(t.Context())
	mustSay(t, err, "get credentials from test")
}

// TestSessionThatEndedEarlier: a session that the service takes for ended, whatever this machine's clock says, is renewed
// once; a token that was given is not asked for again.
func TestSessionThatEndedEarlier(t *testing.T) {
	ended := map[string]bool{"STS.1": true}
	c, f := newFake(t, func(n int, r received) (int, string) {
		switch {
		case r.merged["Action"] == "AssumeRole":
			return 200, fmt.Sprintf(sessionReply, n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case ended[r.merged["AccessKeyId"]]:
			return 400, `{"Code":"InvalidSecurityToken.Expired","Message":"Specified SecurityToken is expired."}`
		}
		return 200, "{}"
	})
	given := c.creds
	var err error
	if c.creds, err = given.assuming(c, AssumeRole{RoleARN: "acs:ram::1:role/x"}); err != nil {
		t.Fatal(err)
	}
	if err := c.call(seconds(t, 5), describeInstances, nil, nil); err != nil {
		t.Errorf("it was not renewed: %v", err)
	}
	var actions []string
	for _, r := range f.all() {
		actions = append(actions, r.merged["Action"]+" "+r.merged["AccessKeyId"])
	}
	if got := strings.Join(actions, ", "); got != "AssumeRole LTAItestAccessKey, DescribeInstances STS.1, AssumeRole LTAItestAccessKey, DescribeInstances STS.3" {
		t.Errorf("calls: %s", got)
	}
	ended["STS.3"], ended["STS.6"] = true, true
	mustSay(t, c.call(seconds(t, 5), describeInstances, nil, nil), "InvalidSecurityToken.Expired") // and not for ever
	c.creds, ended["LTAItestAccessKey"] = given, true
	before := len(f.all())
	mustSay(t, c.call(seconds(t, 5), describeInstances, nil, nil), "InvalidSecurityToken.Expired")
	if n := len(f.all()) - before; n != 1 {
		t.Errorf("%d calls with a key that was given", n)
	}
}

// TestMetadataFails: a service that fails in passing is asked again.
func TestMetadataFails(t *testing.T) {
	failures := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failures > 0 {
			failures--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"Code":"Success","AccessKeyId":"STS.meta","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2999-01-01T00:00:00Z"}`))
	}))
	defer web.Close()
	for n, want := range []string{0: "", 2: "", 3: "ask the metadata service: HTTP 503, again and again"} {
		failures = n
		c, err := New(Config{Region: "cn-beijing", Credentials: Credentials{ECSRoleName: "role", MetadataURL: web.URL}, Backoff: Backoff{Min: time.Millisecond, Max: time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.creds.get(t.Context()); want == "" && err != nil {
			t.Errorf("after %d failures: %v", n, err)
		} else if want != "" {
			mustSay(t, err, want)
		}
		c.Close()
	}
}

// TestCertificateOfAnotherTime: a clock that is wrong is not called a proxy.
func TestCertificateOfAnotherTime(t *testing.T) {
	for _, tt := range []struct {
		err    error
		remedy string
	}{
		{x509.CertificateInvalidError{Reason: x509.Expired}, "Set the clock right (NTP)."},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, "If a proxy inspects TLS"},
		{x509.UnknownAuthorityError{}, "If a proxy inspects TLS"},
	} {
		e := transportError(describeInstances, &url.Error{Op: "Post", URL: "https://x/?Signature=y", Err: &tls.CertificateVerificationError{Err: tt.err}}, &scrubber{})
		if e.Class != ClassFinal || !strings.Contains(e.Remedy, tt.remedy) || strings.Contains(e.Error(), "Signature") {
			t.Errorf("%v: %+v", tt.err, e)
		}
	}
}
