package pccs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// intelTemplate has the shape of the file that Intel's package installs: comments with quotes and slashes in them, and
// commas at the start of lines.
const intelTemplate = `{
  // *** ATTENTION : This file is in JSON format so the keys are case sensitive. Don't change them.

  //PCCS server address
  "pccs_url": "https://localhost:8081/sgx/certification/v4/"

  // To accept insecure HTTPS certificate, set this option to false
  ,"use_secure_cert": true

  // When "collateral_service" is not defined, pccs_url is used: "http://"
  //,"collateral_service": "https://api.trustedservices.intel.com/sgx/certification/v4/"

  /* Type of update, early
     or "standard" */
  //, "tcb_update_type" : "standard"
  //,"pccs_api_version": "3.1"
  ,"retry_times": 6
  ,"retry_delay": 10
  //,"local_pck_url": "http://localhost:8081/sgx/certification/v4/"
  ,"pck_cache_expire_hours": 168
  ,"verify_collateral_cache_expire_hours": 168
  ,"local_cache_only": false
  //,"custom_request_options" : {
  //  "get_cert" : { "headers": { "head1": "value1" } }
  //}
}
`

func TestParseQCNL(t *testing.T) {
	week := 168 * time.Hour
	for _, tt := range []struct {
		name, text string
		want       QCNL
		url        string
	}{
		{"Intel's template", intelTemplate, QCNL{
			PCCSURL: "https://localhost:8081/sgx/certification/v4/", Update: UpdateStandard, RetryTimes: 6, RetryDelay: 10 * time.Second,
			PCKCacheExpiry: week, CollateralCacheExpiry: week,
		}, "https://localhost:8081/sgx/certification/v4/"},
		{"everything", `// first
{"pccs_url":"https://a/sgx/certification/v4/","use_secure_cert":true,"collateral_service":"https://b/sgx/certification/v4/",
"tcb_update_type":"early","pccs_api_version":"3.1","retry_times":0,"retry_delay":1,"local_pck_url":"http://169.254.169.254/metadata/THIM/",
"pck_cache_expire_hours":0.5,"verify_collateral_cache_expire_hours":1e5,"local_cache_only":true,
"custom_request_options":{"get_cert":{"headers":{"metadata":"true"}}},"new_key":[1,{"//":"*/"}]} // last`, QCNL{
			PCCSURL: "https://a/sgx/certification/v4/", CollateralService: "https://b/sgx/certification/v4/", LocalPCKURL: "http://169.254.169.254/metadata/THIM/",
			APIVersion: "3.1", Update: UpdateEarly, RetryDelay: time.Second, PCKCacheExpiry: 30 * time.Minute, CollateralCacheExpiry: 90 * 24 * time.Hour,
			LocalCacheOnly: true, Unknown: []string{"new_key"},
		}, "https://b/sgx/certification/v4/"},
		{"old form", "# PCCS server address\nPCCS_URL=https://sgx-dcap-server.cn-beijing.aliyuncs.com/sgx/certification/v4/\n# To accept insecure HTTPS cert, set this option to FALSE\nUSE_SECURE_CERT=TRUE\n",
			QCNL{PCCSURL: "https://sgx-dcap-server.cn-beijing.aliyuncs.com/sgx/certification/v4/", Update: UpdateStandard},
			"https://sgx-dcap-server.cn-beijing.aliyuncs.com/sgx/certification/v4/"},
		{"old form with all of it", "\r\n PCCS_URL = https://a/ \r\nCOLLATERAL_SERVICE=https://b/?x=1\nUSE_SECURE_CERT=true\nPCCS_API_VERSION=3.0\nRETRY_TIMES=3\nRETRY_DELAY=2\n" +
			"LOCAL_PCK_URL=http://c/\nPCK_CACHE_EXPIRE_HOURS=24\nVERIFY_COLLATERAL_CACHE_EXPIRE_HOURS=9999\nLOCAL_CACHE_ONLY=TRUE\nPCS_URL=https://d/",
			QCNL{PCCSURL: "https://a/", CollateralService: "https://b/?x=1", LocalPCKURL: "http://c/", APIVersion: "3.0", Update: UpdateStandard, RetryTimes: 3,
				RetryDelay: 2 * time.Second, PCKCacheExpiry: 24 * time.Hour, CollateralCacheExpiry: 2160 * time.Hour, LocalCacheOnly: true, Unknown: []string{"pcs_url"}},
			"https://b/?x=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseQCNL([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.CollateralURL() != tt.url {
				t.Errorf("collateral from %s, want %s", got.CollateralURL(), tt.url)
			}
		})
	}
}

func TestParseQCNLRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "it names no service: set pccs_url (PCCS_URL in the old form)"},
		{"comments alone", "# PCCS_URL=https://a/\n", "it names no service"},
		{"no service in JSON", `{"use_secure_cert": true}`, "it names no service"},
		{"TLS not verified", "{\n\"pccs_url\": \"https://a/\",\n\"use_secure_cert\": false\n}", "line 3: use_secure_cert: it is false, which lets anybody answer in the service's place; TLS certificates are always verified here: set it to true, and give"},
		{"TLS not verified, old form", "PCCS_URL=https://a/\nUSE_SECURE_CERT=FALSE", "line 2: use_secure_cert: it is false"},
		{"TLS not verified, in lower case", "PCCS_URL=https://a/\nUSE_SECURE_CERT=false", "line 2: use_secure_cert: it is false"},
		{"a missing comma", "{\n\"pccs_url\": \"https://a/\"\n\"use_secure_cert\": true\n}", "line 3: invalid character '\"' after object key:value pair; check the commas, in Intel's template they stand at the start of a line"},
		{"an open comment", "{\n/* \n\"pccs_url\": \"https://a/\"}", "line 2: the comment has no end"},
		{"cut off", "{\"pccs_url\": \"https://a/\"", "the JSON ends too early"},
		{"cut off in a string", "{\"pccs_url\": \"https://a/", "the JSON ends too early"},
		{"a comment and nothing", "// x", "it is not a JSON object: the JSON ends too early"},
		{"something after it", "{\"pccs_url\": \"https://a/\"}\n{}", "line 1: something follows the JSON object"},
		{"twice", "{\"pccs_url\": \"https://a/\",\n\"pccs_url\": \"https://b/\"}", "line 2: pccs_url is given on line 1 already"},
		{"twice, old form", "PCCS_URL=https://a/\n\nPCCS_URL=https://b/", "line 3: pccs_url is given on line 1 already"},
		{"old form in lower case", "pccs_url=https://a/", `line 1: "pccs_url": keys of the form KEY=value are in upper case`},
		{"neither form", "<html>", "line 1: it is neither KEY=value nor JSON, which begins with {"},
		{"an array", "/**/[]", "it is not a JSON object"},
		{"number for text", `{"pccs_url": 1}`, "line 1: pccs_url: found 1, want a string"},
		{"text for bool", `{"use_secure_cert": "false"}`, `line 1: use_secure_cert: found "false", want true or false without quotes`},
		{"upper case in JSON", `{"use_secure_cert": TRUE}`, "line 1: invalid character 'T'"},
		{"another bool", "USE_SECURE_CERT=no", "line 1: use_secure_cert: found no, want TRUE or FALSE"},
		{"text for number", `{"retry_times": "6"}`, `line 1: retry_times: found "6", want a number from 0 to 65536`},
		{"negative", `{"retry_delay": -1}`, "line 1: retry_delay: found -1, want a number"},
		{"not a number", "RETRY_TIMES=NaN", "line 1: retry_times: found NaN, want a number"},
		{"endless", "PCK_CACHE_EXPIRE_HOURS=inf", "line 1: pck_cache_expire_hours: found inf, want a number from 0 to 1000000"},
		{"API version", `{"pccs_api_version": "4.0"}`, `line 1: pccs_api_version: found "4.0", want 3.0 or 3.1`},
		{"update", `{"tcb_update_type": "Early"}`, `line 1: tcb_update_type: found "Early", want standard or early`},
		{"options", `{"custom_request_options": "x"}`, `line 1: custom_request_options: found "x", want an object`},
		{"a password is not shown", `{"local_cache_only": "u:p@h"}`, "line 1: local_cache_only: found another value, want true"},
		{"too long", strings.Repeat("#", MaxQCNL+1), "it is longer than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseQCNL([]byte(tt.text))
			if got != nil || err == nil || !strings.HasPrefix(err.Error(), "read QCNL configuration: "+tt.want) {
				t.Errorf("%+v, error %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func FuzzParseQCNL(f *testing.F) {
	for _, seed := range []string{intelTemplate, "PCCS_URL=https://a/\nUSE_SECURE_CERT=TRUE\n", `{"pccs_url":"a\"//"}//`, `{/*`, `{"a`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := ParseQCNL(text)
		if err == nil && (q.CollateralURL() == "" || q.RetryTimes < 0 || q.PCKCacheExpiry < 0 || q.Update == "") {
			t.Errorf("%q read as %+v", text, q)
		}
	})
}
