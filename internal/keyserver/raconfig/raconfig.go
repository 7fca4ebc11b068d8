// Package raconfig turns the ra_config.json of the CCZoo TensorFlow Serving tutorial into rules of this key server.
//
// That file has four switches, which apply to all of its entries, and a list of measurements:
//
//	{ "verify_mr_enclave": "on", "verify_mr_signer": "on", "verify_isv_prod_id": "on", "verify_isv_svn": "on",
//	  "mrs": [ { "mr_enclave": "7de5...", "mr_signer": "b11a...", "isv_prod_id": "0", "isv_svn": "0" } ] }
//
// What its server made of it was not always what it says: a switch that is not written exactly as "on" could be off,
// numbers written as strings were zero, bad hexadecimal was partly used, and the hundred-and-first entry was dropped
// (ra_utils.h in cczoo/tensorflow-serving-cluster). [Import] takes the file at its word, makes the strict rule where the
// word is unclear, and warns of every such place and of what was unsafe.
package raconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// Result is what became of a file.
type Result struct {
	Rules    []keyserver.RuleConfig
	Warnings []string // one for each thing to know
}

type file struct {
	MREnclave *json.RawMessage `json:"verify_mr_enclave"`
	MRSigner  *json.RawMessage `json:"verify_mr_signer"`
	ISVProdID *json.RawMessage `json:"verify_isv_prod_id"`
	ISVSVN    *json.RawMessage `json:"verify_isv_svn"`
	Entries   *[]measurements  `json:"mrs"`
}

type measurements struct {
	MREnclave string          `json:"mr_enclave"`
	MRSigner  string          `json:"mr_signer"`
	ISVProdID json.RawMessage `json:"isv_prod_id"`
	ISVSVN    json.RawMessage `json:"isv_svn"`
}

// oldLimit is the number of entries that the old server kept.
const oldLimit = 100

// Import makes rules that release the named secret. An error says that the file is not an ra_config.json, or that no rule
// can be made of it.
func Import(raw []byte, secret string) (*Result, error) {
	var f file
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("read ra_config.json: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read ra_config.json: something follows the JSON object")
	}
	if f.Entries == nil {
		return nil, errors.New("read ra_config.json: it has no list mrs")
	}
	i := importer{secret: secret}
	i.enclave = i.isOn("verify_mr_enclave", f.MREnclave)
	i.signer = i.isOn("verify_mr_signer", f.MRSigner)
	i.prodID = i.isOn("verify_isv_prod_id", f.ISVProdID)
	i.svn = i.isOn("verify_isv_svn", f.ISVSVN)
	if !i.enclave && !i.signer && !i.prodID && !i.svn {
		return nil, errors.New("import ra_config.json: all four switches are off, which released the key to every enclave of anybody; switch verify_mr_enclave or verify_mr_signer on")
	}
	if !i.enclave && !i.signer {
		return nil, errors.New("import ra_config.json: verify_mr_enclave and verify_mr_signer are off, and a product id or version says nothing without a signer; switch one of them on")
	}
	if n := len(*f.Entries); n > oldLimit {
		i.warn("the file has %d entries, and the old server used the first %d only: there are rules for all of them", n, oldLimit)
	}
	for n := range *f.Entries {
		i.entry(n, &(*f.Entries)[n])
	}
	if len(i.result.Rules) == 0 {
		return nil, fmt.Errorf("import ra_config.json: no rule can be made of it: %s", strings.Join(append(i.result.Warnings, "the list mrs has no usable entry"), "; "))
	}
	if i.svn {
		i.warn("isv_svn was compared for equality, so that an enclave with a fix was refused; min_isv_svn accepts later versions")
	}
	i.warn("the tutorial's image also released to debug enclaves and to platforms that are out of date or badly configured; these rules do not: " +
		"they accept UpToDate and SWHardeningNeeded with INTEL-SA-00615, which is what Alibaba Cloud's g7t, c7t and r7t have")
	i.warn("the old server had one key for everybody; all rules release the secret %q, and each could have its own", secret)
	return &i.result, nil
}

// YAML is the part of a configuration with the rules.
func (r *Result) YAML() ([]byte, error) {
	out, err := yaml.Dump(struct {
		Rules []keyserver.RuleConfig `yaml:"rules"`
	}{r.Rules}, yaml.WithV4Defaults())
	if err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return out, nil
}

type importer struct {
	secret                       string
	enclave, signer, prodID, svn bool
	result                       Result
}

func (i *importer) warn(format string, a ...any) {
	i.result.Warnings = append(i.result.Warnings, fmt.Sprintf(format, a...))
}

// isOn reads a switch. The old server compared the beginning of the printed value with "on".
func (i *importer) isOn(name string, raw *json.RawMessage) bool {
	if raw == nil {
		i.warn("%s is missing, on which the old server crashed: taken as on", name)
		return true
	}
	switch text := string(*raw); text {
	case `"on"`:
		return true
	case `"off"`:
		return false
	default:
		old := "off"
		if strings.HasPrefix(`"on"`, text[:max(len(text)-1, 0)]) || strings.HasPrefix(text, `"on`) {
			old = "on"
		}
		i.warn("%s is %s, which the old server took as %s: taken as on", name, text, old)
		return true
	}
}

// entry makes a rule of an entry, or warns why not.
func (i *importer) entry(n int, m *measurements) {
	at := fmt.Sprintf("mrs[%d]", n)
	r := keyserver.RuleConfig{
		Name: fmt.Sprintf("imported %d", n+1), Secret: i.secret,
		TCB: keyserver.TCBConfig{Accept: []string{"UpToDate", "SWHardeningNeeded"}, AcceptAdvisories: []string{"INTEL-SA-00615"}},
	}
	good := true
	if i.enclave {
		good = i.measurement(at+".mr_enclave", m.MREnclave, &r.MREnclave) && good
	}
	if i.signer {
		good = i.measurement(at+".mr_signer", m.MRSigner, &r.MRSigner) && good
	}
	// A signer alone vouches for all it ever signed, so that such a rule needs the numbers even where the switch is off.
	if i.prodID || !i.enclave {
		good = i.number(at+".isv_prod_id", m.ISVProdID, i.prodID, &r.ISVProdID) && good
	}
	if i.svn || !i.enclave {
		good = i.number(at+".isv_svn", m.ISVSVN, i.svn, &r.MinISVSVN) && good
	}
	if good {
		i.result.Rules = append(i.result.Rules, r)
	}
}

func (i *importer) measurement(at, text string, to *[]string) bool {
	switch {
	case len(text) != 64 || strings.Trim(text, "0123456789abcdefABCDEF") != "":
		i.warn("%s is not 64 hex digits, of which the old server made another measurement: there is no rule for this entry", at)
		return false
	case strings.Trim(text, "0") == "":
		i.warn("%s is all zeros, which no enclave has: there is no rule for this entry", at)
		return false
	}
	*to = []string{strings.ToLower(text)}
	return true
}

// number reads what may be a JSON number or a string. checked: the old server compared it.
func (i *importer) number(at string, raw json.RawMessage, checked bool, to **uint16) bool {
	text := strings.Trim(string(raw), `"`)
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		i.warn("%s is %s, want a number from 0 to %d: there is no rule for this entry", at, orMissing(raw), math.MaxUint16)
		return false
	}
	if checked && string(raw) != text && n != 0 {
		i.warn("%s is a string, which the old server read as 0: the rule says %d", at, n)
	}
	if !checked {
		i.warn("%s was not checked, and a signer alone vouches for all it ever signed: the rule says %d", at, n)
	}
	value := uint16(n)
	*to = &value
	return true
}

func orMissing(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "missing"
	}
	return string(raw)
}
