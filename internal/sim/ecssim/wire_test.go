package ecssim

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSignatureVector is the example of "Request signatures" in the ECS API
// reference.
func TestSignatureVector(t *testing.T) {
	p := params{
		"Format": "XML", "AccessKeyId": "testid", "Action": "DescribeRegions", "SignatureMethod": "HMAC-SHA1",
		"SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "SignatureVersion": "1.0", "Timestamp": "2016-02-23T12:46:24Z", "Version": "2014-05-26",
	}
	const want = "GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRegions%26Format%3DXML%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf%26SignatureVersion%3D1.0%26Timestamp%3D2016-02-23T12%253A46%253A24Z%26Version%3D2014-05-26"
	got := stringToSign(http.MethodGet, p)
	if got != want {
		t.Errorf("string to sign\n%s, want\n%s", got, want)
	}
	if s := sign(got, "testsecret"); s != "OLeaidS1JvxuMvnyHOwuJ+uX5qY=" {
		t.Errorf("signature %s", s)
	}
}

func TestPercentEncode(t *testing.T) {
	for in, want := range map[string]string{"a b": "a%20b", "*": "%2A", "~": "~", "/": "%2F", "é": "%C3%A9", "+": "%2B", "-_.": "-_."} {
		if got := percentEncode(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestQueryAndFormAreMerged(t *testing.T) {
	c := newCloud(t, Options{})
	for _, tt := range []struct {
		name, method string
		form         func(string) bool
	}{
		{"all in the query of a GET", http.MethodGet, nil},
		{"all in the query of a POST", http.MethodPost, nil},
		{"all in the body", http.MethodPost, func(string) bool { return true }},
		{"arguments in the body", http.MethodPost, func(k string) bool { return k == "RegionId" || k == "SignatureNonce" }},
	} {
		status, out := c.send(tt.method, signed("DescribeZones", map[string]string{"AcceptLanguage": "en-US *~ +"}), tt.form)
		if status != http.StatusOK || size(at(out, "Zones", "Zone")) != 4 {
			t.Errorf("%s: HTTP %d %v", tt.name, status, out)
		}
	}
}

func TestAuthentication(t *testing.T) {
	c := newCloud(t, Options{})
	role := c.ask("AssumeRole", map[string]string{"RoleArn": "acs:ram::1000000000000001:role/r", "RoleSessionName": "s"})
	key, secret, token := text(at(role, "Credentials", "AccessKeyId")), text(at(role, "Credentials", "AccessKeySecret")), text(at(role, "Credentials", "SecurityToken"))
	minutes := func(n int) string {
		return time.Now().Add(time.Duration(n) * time.Minute).UTC().Format(timestampFormat)
	}
	for _, tt := range []struct {
		name   string
		change map[string]string
		secret string
		status int
		code   string
	}{
		{"right", nil, DefaultSecretKey, 200, ""},
		{"unknown key", map[string]string{"AccessKeyId": "LTAInobody"}, DefaultSecretKey, 404, "InvalidAccessKeyId.NotFound"},
		{"wrong secret", nil, "wrong", 400, "SignatureDoesNotMatch"},
		{"old", map[string]string{"Timestamp": minutes(-16)}, DefaultSecretKey, 400, "InvalidTimeStamp.Expired"},
		{"of the future", map[string]string{"Timestamp": minutes(16)}, DefaultSecretKey, 400, "InvalidTimeStamp.Expired"},
		{"a bit off", map[string]string{"Timestamp": minutes(-10)}, DefaultSecretKey, 200, ""},
		{"no time", map[string]string{"Timestamp": "yesterday"}, DefaultSecretKey, 400, "InvalidTimeStamp.Format"},
		{"token with a permanent key", map[string]string{"SecurityToken": token}, DefaultSecretKey, 400, "InvalidSecurityToken.MismatchWithAccessKey"},
		{"temporary key", map[string]string{"AccessKeyId": key, "SecurityToken": token}, secret, 200, ""},
		{"temporary key without token", map[string]string{"AccessKeyId": key}, secret, 400, "MissingSecurityToken"},
		{"temporary key with another token", map[string]string{"AccessKeyId": key, "SecurityToken": "x"}, secret, 400, "InvalidSecurityToken.Malformed"},
		{"no nonce", map[string]string{"SignatureNonce": ""}, DefaultSecretKey, 400, "MissingParameter"},
		{"other method", map[string]string{"SignatureMethod": "HMAC-SHA256"}, DefaultSecretKey, 400, "InvalidParameter.SignatureMethod"},
		{"other version", map[string]string{"Version": "2016-04-28"}, DefaultSecretKey, 400, "InvalidVersion"},
		{"other action", map[string]string{"Action": "DescribeEverything"}, DefaultSecretKey, 404, "InvalidAction.NotFound"},
		{"other region", map[string]string{"RegionId": "mars-north-1"}, DefaultSecretKey, 404, "InvalidRegionId.NotFound"},
		{"XML", map[string]string{"Format": "XML"}, DefaultSecretKey, 400, "InvalidParameter.Format"},
	} {
		p := signed("DescribeZones", tt.change)
		p["Signature"] = sign(stringToSign(http.MethodPost, p), tt.secret)
		status, out := c.send(http.MethodPost, p, nil)
		if status != tt.status || text(out["Code"]) != tt.code || text(out["RequestId"]) == "" {
			t.Errorf("%s: HTTP %d %v, want %d %s", tt.name, status, out, tt.status, tt.code)
		}
		if tt.code == "SignatureDoesNotMatch" && !strings.Contains(text(out["Message"]), "server string to sign is:"+stringToSign(http.MethodPost, p)) {
			t.Errorf("the answer does not repeat the string to sign: %v", out)
		}
	}
}

func TestExpiredSession(t *testing.T) {
	now := time.Now()
	c := newCloud(t, Options{Now: func() time.Time { return now }})
	role := c.ask("AssumeRole", map[string]string{"RoleArn": "acs:ram::1000000000000001:role/r", "RoleSessionName": "s", "DurationSeconds": "900"})
	now = now.Add(16 * time.Minute)
	p := signed("DescribeZones", map[string]string{
		"AccessKeyId": text(at(role, "Credentials", "AccessKeyId")), "SecurityToken": text(at(role, "Credentials", "SecurityToken")),
		"Timestamp": now.UTC().Format(timestampFormat),
	})
	p["Signature"] = sign(stringToSign(http.MethodPost, p), text(at(role, "Credentials", "AccessKeySecret")))
	if status, out := c.send(http.MethodPost, p, nil); status != 400 || out["Code"] != "InvalidSecurityToken.Expired" {
		t.Errorf("HTTP %d %v", status, out)
	}
}

func TestNonceCountsOnce(t *testing.T) {
	c := newCloud(t, Options{})
	p := signed("DescribeZones", nil)
	if status, out := c.send(http.MethodPost, p, nil); status != 200 {
		t.Fatalf("HTTP %d %v", status, out)
	}
	if status, out := c.send(http.MethodPost, p, nil); status != 400 || out["Code"] != "SignatureNonceUsed" {
		t.Errorf("HTTP %d %v", status, out)
	}
}

func TestMalformedRequests(t *testing.T) {
	c := newCloud(t, Options{})
	for _, tt := range []struct{ name, method, target, body, code string }{
		{"path", "POST", "/v1?Action=DescribeZones", "", "InvalidAction.NotFound"},
		{"method", "PUT", "/?Action=DescribeZones", "", "UnsupportedHTTPMethod"},
		{"query", "POST", "/?Action=%zz", "", "InvalidParameter"},
		{"body", "POST", "/?Action=DescribeZones", "a=%zz", "InvalidParameter"},
		{"long body", "POST", "/?Action=DescribeZones", "a=" + strings.Repeat("x", 2<<20), "InvalidParameter"},
		{"nothing", "GET", "/", "", "InvalidAction.NotFound"},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		path, query, _ := strings.Cut(tt.target, "?")
		u.Path, u.RawQuery = path, query
		req := &http.Request{Method: tt.method, URL: u, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: http.NoBody}
		if tt.body != "" {
			r, err := http.NewRequest(tt.method, u.String(), strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Body, req.ContentLength = r.Body, r.ContentLength
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		data := make([]byte, 512)
		n, _ := resp.Body.Read(data)
		_ = resp.Body.Close()
		if resp.StatusCode < 400 || !strings.Contains(string(data[:n]), `"Code":"`+tt.code+`"`) {
			t.Errorf("%s: HTTP %d %s, want %s", tt.name, resp.StatusCode, data[:n], tt.code)
		}
	}
}

func TestPaging(t *testing.T) {
	all := make([]int, 25)
	for i := range all {
		all[i] = i
	}
	var got []int
	token, calls := "", 0
	for {
		p := params{"MaxResults": "10"}
		if token != "" {
			p["NextToken"] = token
		}
		part, meta, err := page(p, all, 50)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part...)
		calls++
		if token = text(meta["NextToken"]); token == "" {
			break
		}
	}
	if len(got) != 25 || calls != 3 {
		t.Errorf("%d items in %d calls", len(got), calls)
	}
	if part, meta, err := page(params{"PageNumber": "3", "PageSize": "10"}, all, 50); err != nil || len(part) != 5 || meta["TotalCount"] != 25 {
		t.Errorf("third page: %v %v %v", part, meta, err)
	}
	if part, _, err := page(params{"PageNumber": "9"}, all, 50); err != nil || len(part) != 0 {
		t.Errorf("page beyond the end: %v %v", part, err)
	}
	for _, bad := range []params{{"PageSize": "51"}, {"MaxResults": "0"}, {"NextToken": "?"}, {"NextToken": "eA"}} {
		if _, _, err := page(bad, all, 50); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestOnePortSpeaksTLSAndPlain(t *testing.T) {
	sim, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", sim)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(l.RootPEM) {
		t.Fatal("no root certificate")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	var wg sync.WaitGroup
	for _, scheme := range []string{"http", "https", "http", "https"} {
		wg.Go(func() {
			resp, err := client.Get(scheme + "://" + l.Addr + "/")
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
		})
	}
	wg.Wait()
	encrypted := 0
	for _, r := range sim.Requests() {
		if r.TLS {
			encrypted++
		}
	}
	if encrypted != 2 {
		t.Errorf("%d of 4 requests were encrypted: %+v", encrypted, sim.Requests())
	}
	client.CloseIdleConnections()
	l.Close()
	for _, addr := range []string{"0.0.0.0:0", "example.com:1", ":0", "127.0.0.1"} {
		if l, err := Listen(addr, sim); err == nil {
			l.Close()
			t.Errorf("%s was accepted", addr)
		}
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	c.machine(vswitch, group, map[string]string{"Password": "Canary-1234567", "UserData": "Q2FuYXJ5"})
	for _, r := range c.sim.Requests() {
		for k, v := range r.Params {
			if strings.Contains(v, "Canary") || strings.Contains(v, "Q2FuYXJ5") {
				t.Errorf("%s of %s is in the log: %s", k, r.Action, v)
			}
		}
	}
}

func TestDirectoryStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := newCloud(t, Options{Dir: dir})
	_, vswitch, group := first.network()
	id := first.machine(vswitch, group, map[string]string{"ClientToken": "token-1"})
	again := newCloud(t, Options{Dir: dir})
	if got := again.status(id); got != "Running" {
		t.Errorf("after a restart the instance is %q", got)
	}
	if got := again.machine(vswitch, group, map[string]string{"ClientToken": "token-1"}); got != id {
		t.Errorf("after a restart the token gives %s instead of %s", got, id)
	}
	if next := again.machine(vswitch, group, nil); next == id {
		t.Error("an id was given twice")
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not a simulator's state") {
		t.Errorf("a broken state: %v", err)
	}
}
