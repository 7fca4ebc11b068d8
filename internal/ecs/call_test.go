package ecs

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// referenceSignature signs as "Request signatures" of the ECS API reference
// says, with nothing of the SDK in it.
func referenceSignature(method string, p map[string]string, secret string) string {
	encode := func(s string) string {
		return strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(url.QueryEscape(s))
	}
	var pairs []string
	for k, v := range p {
		if k != "Signature" {
			pairs = append(pairs, encode(k)+"="+encode(v))
		}
	}
	slices.Sort(pairs)
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	mac.Write([]byte(method + "&%2F&" + encode(strings.Join(pairs, "&"))))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// TestSignature proves the reference by the documentation's example, and the
// client's signatures by the reference.
func TestSignature(t *testing.T) {
	vector := map[string]string{
		"Format": "XML", "AccessKeyId": "testid", "Action": "DescribeRegions", "SignatureMethod": "HMAC-SHA1",
		"SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "SignatureVersion": "1.0", "Timestamp": "2016-02-23T12:46:24Z", "Version": "2014-05-26",
	}
	if got := referenceSignature("GET", vector, "testsecret"); got != "OLeaidS1JvxuMvnyHOwuJ+uX5qY=" {
		t.Fatalf("the example of the documentation gives %s", got)
	}
	c, f := newFake(t, func(int, received) (int, string) { return 200, `{}` })
	for _, value := range []string{"plain", "a b*c~d+e/f=g&h", "Ünïcödé 云", "%41", ""} {
		if err := c.call(seconds(t, 5), createSecurityGroup, map[string]string{"Description": value, "Tag.1.Key": value}, nil); err != nil {
			t.Fatal(err)
		}
	}
	nonces := map[string]bool{}
	for _, r := range f.all() {
		if want := referenceSignature(r.method, r.merged, "testSecretKey"); r.merged["Signature"] != want {
			t.Errorf("signature %s, want %s, for %v", r.merged["Signature"], want, r.merged)
		}
		nonces[r.merged["SignatureNonce"]] = true
	}
	if len(nonces) != 5 {
		t.Errorf("%d nonces in 5 calls", len(nonces))
	}
}

func TestArgumentsTravelInTheBody(t *testing.T) {
	c, f := newFake(t, func(int, received) (int, string) { return 200, `{"InstanceIdSets":{"InstanceIdSet":["i-1"]}}` })
	_, err := c.RunInstance(seconds(t, 5), InstanceSpec{
		Name: "n", ImageID: "img", Type: "t", VSwitchID: "vsw", SecurityGroups: []string{"sg-1", "sg-2"}, Password: "Canary-12345678", UserData: []byte("user data canary"),
		Disk: Disk{Category: "cloud_essd", SizeGiB: 40, PerformanceLevel: "PL0"}, BandwidthOut: 5, Tags: map[string]string{"b": "2", "a": "1"}, HTTPTokens: "required",
	})
	if err != nil {
		t.Fatal(err)
	}
	r := f.all()[0]
	for name := range r.query {
		if !slices.Contains([]string{"Action", "Version", "Format", "AccessKeyId", "Timestamp", "SignatureMethod", "SignatureVersion", "SignatureType", "SignatureNonce", "RegionId", "Signature", "SecurityToken"}, name) {
			t.Errorf("%s is in the URL", name)
		}
	}
	for name, want := range map[string]string{
		"InstanceName": "n", "SecurityGroupIds.1": "sg-1", "SecurityGroupIds.2": "sg-2", "Password": "Canary-12345678",
		"UserData": base64.StdEncoding.EncodeToString([]byte("user data canary")), "SystemDisk.Size": "40", "SystemDisk.PerformanceLevel": "PL0",
		"InternetMaxBandwidthOut": "5", "Tag.1.Key": "a", "Tag.2.Value": "2", "HttpTokens": "required", "Amount": "1",
	} {
		if r.form.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, r.form.Get(name), want)
		}
	}
	if r.method != http.MethodPost || r.header.Get("User-Agent") != "test/1" || len(r.form.Get("ClientToken")) != 32 {
		t.Errorf("%s %v %v", r.method, r.header, r.form)
	}
}

func TestEndpoints(t *testing.T) {
	for _, tt := range []struct {
		custom, want, wantErr string
	}{
		{"", "https://ecs.cn-beijing.aliyuncs.com", ""},
		{"ecs.example.com", "https://ecs.example.com", ""},
		{"ecs.example.com:8443", "https://ecs.example.com:8443", ""},
		{"https://ecs.example.com/", "https://ecs.example.com", ""},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080", ""},
		{"http://[::1]:8080", "http://[::1]:8080", ""},
		{"http://localhost:8080", "http://localhost:8080", ""},
		{"127.0.0.1:8080", "https://127.0.0.1:8080", ""},
		{"http://ecs.example.com", "", "would send signatures and tokens in the clear"},
		{"http://127.0.0.1.example.com", "", "in the clear"},
		{"http://0.0.0.0:1", "", "in the clear"},
		{"HTTP://10.0.0.1", "", "in the clear"},
		{"ftp://127.0.0.1", "", "neither https nor http"},
		{"ecs.example.com/path", "", "is not HOST or HOST:PORT"},
		{"user@ecs.example.com", "", "is not HOST or HOST:PORT"},
		{":443", "", "is not HOST or HOST:PORT"},
	} {
		got, err := parseEndpoint(tt.custom, "ecs.cn-beijing.aliyuncs.com")
		if tt.wantErr != "" {
			mustSay(t, err, tt.wantErr)
			continue
		}
		if err != nil || got.scheme+"://"+got.host != tt.want {
			t.Errorf("%q: %+v %v, want %s", tt.custom, got, err, tt.want)
		}
	}
	for region, want := range map[string]string{"cn-hangzhou": "ecs-cn-hangzhou.aliyuncs.com", "eu-central-1": "ecs.eu-central-1.aliyuncs.com"} {
		if got := defaultEndpoint("ecs", region); got != want {
			t.Errorf("%s: %s", region, got)
		}
	}
	if got := defaultEndpoint("vpc", "cn-hangzhou"); got != "vpc.aliyuncs.com" {
		t.Errorf("vpc: %s", got)
	}
	key := Credentials{AccessKey: "a", SecretKey: "b"}
	for _, region := range []string{"", "Beijing", "cn-beijing/x", "cn_beijing", "cn"} {
		if _, err := New(Config{Region: region, Credentials: key}); err == nil {
			t.Errorf("region %q was accepted", region)
		}
	}
	// The default is HTTPS, whatever the SDK's is.
	c, err := New(Config{Region: "cn-beijing", Credentials: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*action{describeInstances, describeVSwitchAttributes, getCallerIdentity} {
		req, err := c.request(t.Context(), a, nil, session{accessKey: "a", secret: "b"})
		if err != nil || req.URL.Scheme != "https" {
			t.Errorf("%s goes to %v (%v)", a.name, req.URL.Scheme, err)
		}
	}
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action *action
		status int
		code   string
		calls  int // when each answer is the failure
		class  Class
	}{
		{"throttled user", describeInstances, 400, "Throttling.User", patientAttempts, ClassThrottled},
		{"throttled with another status", runInstances, 503, "Throttling", patientAttempts, ClassThrottled},
		{"service unavailable", describeInstances, 503, "ServiceUnavailable", transientAttempts, ClassTransient},
		{"internal error of a write", runInstances, 500, "InternalError", transientAttempts, ClassTransient},
		{"idempotent processing", createSecurityGroup, 403, "IdempotentProcessing", patientAttempts, ClassProcessing},
		{"instance state", stopInstance, 403, "IncorrectInstanceStatus", patientAttempts, ClassState},
		{"instance state where it does not pass", createSecurityGroup, 403, "IncorrectInstanceStatus", 1, ClassFinal},
		{"dependency", deleteSecurityGroup, 403, "DependencyViolation", 1, ClassDependency},
		{"clock", describeInstances, 400, "InvalidTimeStamp.Expired", 2, ClassClock},
		{"nonce", describeInstances, 400, "SignatureNonceUsed", 2, ClassClock},
		{"access key", describeInstances, 404, "InvalidAccessKeyId.NotFound", 1, ClassAuth},
		{"permission", describeInstances, 403, "Forbidden.RAM", 1, ClassAuth},
		{"unknown code with 500", describeInstances, 500, "SomethingNew", 1, ClassFinal},
		{"code that only starts like one", describeInstances, 400, "ThrottlingNot", 1, ClassFinal},
		{"quota", runInstances, 403, "QuotaExceed.ElasticQuota", 1, ClassFinal},
		{"parameter mismatch", runInstances, 403, "IdempotentParameterMismatch", 1, ClassFinal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, f := newFake(t, func(int, received) (int, string) { return apiError(tt.status, tt.code) })
			err := c.call(t.Context(), tt.action, map[string]string{"A": "b"}, nil)
			if n := len(f.all()); n != tt.calls {
				t.Errorf("%d calls, want %d", n, tt.calls)
			}
			var e *Error
			if !errors.As(err, &e) || e.Class != tt.class || e.Code != tt.code || e.Status != tt.status || e.RequestID != "REQ-1" || e.Attempts != tt.calls {
				t.Errorf("%#v", err)
			}
			mustSay(t, err, "call "+tt.action.name+": "+tt.code+": About "+tt.code+" (HTTP")
		})
	}
}

// TestPatienceHasTheCallersEnd: a state that passes is waited for until the
// deadline, and the last answer is in the error.
func TestPatienceHasTheCallersEnd(t *testing.T) {
	c, f := newFake(t, func(int, received) (int, string) { return apiError(403, "IncorrectInstanceStatus") })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := c.call(ctx, deleteInstance, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) || ClassOf(err) != ClassState || len(f.all()) <= patientAttempts {
		t.Errorf("%d calls: %v", len(f.all()), err)
	}
	mustSay(t, err, "call DeleteInstance: IncorrectInstanceStatus: About IncorrectInstanceStatus: context deadline exceeded (HTTP 403")
}

func TestTokenIsKeptAndNonceIsNot(t *testing.T) {
	c, f := newFake(t, func(n int, _ received) (int, string) {
		switch n {
		case 1:
			return 0, "" // cut
		case 2:
			return 502, "<html>bad gateway</html>"
		case 3:
			return apiError(400, "Throttling.User")
		case 4:
			return apiError(403, "IdempotentProcessing")
		default:
			return 200, `{"SecurityGroupId":"sg-1"}`
		}
	})
	id, err := c.CreateSecurityGroup(seconds(t, 10), SecurityGroupSpec{VpcID: "vpc-1"})
	if err != nil || id != "sg-1" {
		t.Fatal(id, err)
	}
	tokens, nonces := map[string]bool{}, map[string]bool{}
	for _, r := range f.all() {
		tokens[r.merged["ClientToken"]], nonces[r.merged["SignatureNonce"]] = true, true
	}
	if len(tokens) != 1 || len(nonces) != 5 {
		t.Errorf("%d tokens and %d nonces in %d calls", len(tokens), len(nonces), len(f.all()))
	}
}

func TestStrangeAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		calls  int
		says   string
	}{
		{"number as code", 400, `{"Code":42,"Message":7,"RequestId":null}`, 1, "42: 7 (HTTP 400)"},
		{"object as code", 400, `{"Code":{},"Message":""}`, 1, `an answer that is not the service's, starting with "{\"Code\":{}`},
		{"proxy", 502, "<html>Bad Gateway</html>", transientAttempts, "not the service's"},
		{"captive portal", 302, "go elsewhere", 1, "not the service's"},
		{"captive portal with 200", 200, "<html>Log in</html>", transientAttempts, `read the answer "<html>Log in</html>"`},
		{"empty", 200, "", transientAttempts, "EOF"},
		{"list", 200, "[]", transientAttempts, "cannot unmarshal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, f := newFake(t, func(int, received) (int, string) { return tt.status, tt.body })
			var out struct{ A string }
			err := c.call(seconds(t, 10), describeInstances, nil, &out)
			mustSay(t, err, "call DescribeInstances: ", tt.says)
			if n := len(f.all()); n != tt.calls {
				t.Errorf("%d calls, want %d", n, tt.calls)
			}
		})
	}
}

// TestSecretsStayOut looks at errors of each origin, printed in each way.
func TestSecretsStayOut(t *testing.T) {
	const password, token, secret, key = "Canary-p*ss w0rd", "CAIScanaryTOKEN==/+", "canarySecretKey", "STS.canaryAccessKey"
	creds := Credentials{AccessKey: key, SecretKey: secret, SecurityToken: token}
	spec := InstanceSpec{Name: "n", Password: password, UserData: []byte("canary user data")}
	data := base64.StdEncoding.EncodeToString(spec.UserData)
	look := func(name string, c *Client) {
		t.Helper()
		_, err := c.RunInstance(seconds(t, 10), spec)
		if err == nil {
			t.Errorf("%s: no error", name)
			return
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			mustHide(t, fmt.Sprintf(format, err), password, token, secret, key, data)
			var e *Error
			if errors.As(err, &e) && e.Err != nil {
				mustHide(t, fmt.Sprintf("%v", e.Err), password, token, secret, key, data)
			}
		}
	}
	look("connection refused", newTestClient(t, "http://127.0.0.1:1", creds))
	for name, body := range map[string]string{
		"echo": `{"Code":"InvalidPassword.Malformed","Message":"Password ` + password + ` of ` + key + ` with ` + token + ` is bad"}`,
		"signature": `{"Code":"SignatureDoesNotMatch","Message":"Specified signature is not matched with our calculation. server string to sign is:POST&%2F&Password%3D` +
			url.QueryEscape(url.QueryEscape(password)) + `"}`,
		"not JSON": "oops " + password + " " + token + " " + secret,
	} {
		c, _ := newFake(t, func(int, received) (int, string) { return 400, body })
		c.creds, _ = static(key, secret, token, "test")
		look(name, c)
	}
	if printed := fmt.Sprintf("%v %+v %#v %v %#v", creds, creds, creds, spec, spec); strings.Contains(printed, secret) || strings.Contains(printed, password) {
		t.Errorf("printing the arguments shows %s", printed)
	}
	if out, err := json.Marshal(creds); err != nil || strings.Contains(string(out), secret) {
		t.Errorf("JSON shows %s (%v)", out, err)
	}
	s := session{accessKey: key, secret: secret, token: token}
	mustHide(t, fmt.Sprintf("%v %+v %#v", s, s, s), key, secret, token)
}

func TestNotFoundIsNotGuessed(t *testing.T) {
	for code, want := range map[string]bool{
		"InvalidSecurityGroupId.NotFound": true, "InvalidAccessKeyId.NotFound": false, "InvalidRegionId.NotFound": false, "InvalidVpcId.NotFound": false,
		"InvalidAction.NotFound": false, "SomethingNotFound": false, "EntityNotExist.Role": false,
	} {
		c, _ := newFake(t, func(int, received) (int, string) { return apiError(404, code) })
		_, err := c.IngressRules(seconds(t, 5), "sg-1")
		if IsNotFound(err) != want {
			t.Errorf("%s: %v", code, err)
		}
		err = c.DeleteSecurityGroup(seconds(t, 5), "sg-1")
		if (err == nil) != want {
			t.Errorf("delete with %s: %v", code, err)
		}
	}
}

func TestContextEndsAReadAtOnce(t *testing.T) {
	block := make(chan struct{})
	c, _ := newFake(t, func(int, received) (int, string) { <-block; return 200, "{}" })
	t.Cleanup(func() { close(block) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	started := time.Now()
	err := c.call(ctx, describeInstances, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 3*time.Second {
		t.Errorf("%v after %s", err, time.Since(started))
	}
	c.Close()
}

// TestWriteOutlivesItsCaller gives up while a write is on its way.
func TestWriteOutlivesItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, f := newFake(t, func(n int, _ received) (int, string) {
		cancel()
		time.Sleep(20 * time.Millisecond)
		if n == 1 {
			return 0, "" // the answer is lost as well
		}
		return 200, `{"InstanceIdSets":{"InstanceIdSet":["i-1"]}}`
	})
	id, err := c.RunInstance(ctx, InstanceSpec{})
	if err != nil || id != "i-1" {
		t.Fatalf("%q %v", id, err)
	}
	calls := f.all()
	if len(calls) != 2 || calls[0].merged["ClientToken"] != calls[1].merged["ClientToken"] {
		t.Errorf("%d calls", len(calls))
	}
	if err := c.call(ctx, runInstances, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a call of somebody who gave up before: %v", err)
	}
	if n := len(f.all()); n != 2 {
		t.Errorf("it was made all the same: %d calls", n)
	}
}

func TestThrottlingHoldsEveryCaller(t *testing.T) {
	var mu sync.Mutex
	var times []time.Time
	c, _ := newFake(t, func(n int, _ received) (int, string) {
		mu.Lock()
		times = append(times, time.Now())
		mu.Unlock()
		if n == 1 {
			return apiError(400, "Throttling.User")
		}
		return 200, "{}"
	})
	c.backoff = Backoff{Min: 80 * time.Millisecond, Max: 80 * time.Millisecond}
	if err := c.call(seconds(t, 5), describeInstances, nil, nil); err != nil {
		t.Fatal(err)
	}
	if gap := times[1].Sub(times[0]); gap < 40*time.Millisecond {
		t.Errorf("the next call came after %s", gap)
	}
	c.gates.hold(describeInstances.name, 50*time.Millisecond)
	started := time.Now()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { _ = c.call(seconds(t, 5), describeInstances, nil, nil) })
	}
	wg.Wait()
	for _, at := range times[2:] {
		if at.Sub(started) < 45*time.Millisecond {
			t.Errorf("a call passed the gate after %s", at.Sub(started))
		}
	}
	started = time.Now()
	if err := c.call(seconds(t, 5), describeZones, nil, nil); err != nil || time.Since(started) > 40*time.Millisecond {
		t.Errorf("another action was held too: %v, %s", err, time.Since(started))
	}
}

func TestPagesEndlessly(t *testing.T) {
	c, _ := newFake(t, func(int, received) (int, string) { return 200, `{"NextToken":"again"}` })
	_, err := c.IngressRules(seconds(t, 5), "sg-1")
	mustSay(t, err, "the same NextToken again and again")
}

func TestTolerantTypes(t *testing.T) {
	var out struct {
		S []text
		N []number
	}
	if err := json.Unmarshal([]byte(`{"S":["a",1,true,null,1.5],"N":[1,"2","",null,"0.5"]}`), &out); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(out.S) != "[a 1 true  1.5]" || fmt.Sprint(out.N) != "[1 2 0 0 0.5]" {
		t.Errorf("%v %v", out.S, out.N)
	}
	for _, bad := range []string{`{"S":[{}]}`, `{"S":[[]]}`, `{"N":["x"]}`, `{"N":[{}]}`} {
		if json.Unmarshal([]byte(bad), &out) == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{}.orDefault()
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 60: 30 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 50 {
			d := b.after(n)
			if d < want/2 || d > want {
				t.Errorf("wait %d is %s, want %s to %s", n, d, want/2, want)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("wait %d is hardly random", n)
		}
	}
}

func TestClassNames(t *testing.T) {
	for c := ClassFinal; c <= ClassDependency; c++ {
		if strings.HasPrefix(c.String(), "class") {
			t.Errorf("class %d has no name", uint8(c))
		}
	}
	if Class(99).String() != "class 99" {
		t.Error(Class(99).String())
	}
}
