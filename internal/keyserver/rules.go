package keyserver

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Rules are the rules of a configuration, ready to be asked. They may be used by several goroutines at once.
type Rules struct {
	rules []rule
}

type rule struct {
	name        string
	serverNames []string // lower case, without trailing dot
	policy      dcap.Policy
	secret      string
}

// NewRules compiles the rules of a checked configuration.
func NewRules(c *Config) (*Rules, error) {
	rs := &Rules{rules: make([]rule, 0, len(c.Rules))}
	for i := range c.Rules {
		r, err := compile(&c.Rules[i], time.Duration(c.Collateral.MaxAge))
		if err != nil {
			return nil, fmt.Errorf("compile rule %q: %w", c.Rules[i].Name, err)
		}
		rs.rules = append(rs.rules, r)
	}
	return rs, nil
}

func compile(c *RuleConfig, maxAge time.Duration) (rule, error) {
	policy, problems := c.Policy()
	if len(problems) > 0 {
		return rule{}, errors.New(problems[0].String())
	}
	policy.MaxCollateralAge = maxAge
	r := rule{name: c.Name, secret: c.Secret, policy: *policy}
	for _, name := range c.ServerName {
		r.serverNames = append(r.serverNames, canonicalName(name))
	}
	return r, nil
}

// Policy returns the rule's conditions on enclave and platform as a policy, or everything that is wrong with them. Name,
// secret and server names are none of it.
func (r *RuleConfig) Policy() (*dcap.Policy, []Problem) {
	var k checker
	p := r.read(&k, "policy")
	if len(k.problems) > 0 {
		return nil, k.problems
	}
	return p, nil
}

// read checks the conditions and compiles them, as far as they are good.
func (r *RuleConfig) read(k *checker, field string) *dcap.Policy {
	p := &dcap.Policy{
		ISVProdID: r.ISVProdID, MinISVSVN: r.MinISVSVN, MinConfigSVN: r.MinConfigSVN, AllowDebug: r.AllowDebug,
		Attributes:     quote.Attributes{Flags: r.Attributes.Flags, XFRM: r.Attributes.XFRM},
		AttributesMask: quote.Attributes{Flags: r.Attributes.FlagsMask, XFRM: r.Attributes.XFRMMask},
		MiscSelect:     r.MiscSelect.Value, MiscSelectMask: r.MiscSelect.Mask,
	}
	r.measurements(k, field, p)
	r.TCB.read(k, field+".tcb", p)
	for _, f := range []struct {
		name, digits string
		size         int
		set          func([]byte)
	}{
		{"config_id", r.ConfigID, 64, func(b []byte) { p.ConfigID = (*[64]byte)(b) }},
		{"isv_ext_prod_id", r.ISVExtProdID, 16, func(b []byte) { p.ISVExtProdID = (*[16]byte)(b) }},
		{"isv_family_id", r.ISVFamilyID, 16, func(b []byte) { p.ISVFamilyID = (*[16]byte)(b) }},
	} {
		if f.digits == "" {
			continue
		}
		raw, err := hex.DecodeString(f.digits)
		if err != nil || len(raw) != f.size {
			k.add(field+"."+f.name, fmt.Sprintf("write %d hex digits", 2*f.size), "%q is not that", f.digits)
			continue
		}
		f.set(raw)
	}
	for _, f := range []struct {
		name       string
		bits, mask uint64
	}{
		{"attributes.flags", r.Attributes.Flags, r.Attributes.FlagsMask},
		{"attributes.xfrm", r.Attributes.XFRM, r.Attributes.XFRMMask},
		{"misc_select.value", uint64(r.MiscSelect.Value), uint64(r.MiscSelect.Mask)},
	} {
		if f.bits&^f.mask != 0 {
			k.add(field+"."+f.name, "set them in the mask too, or clear them", "%#x has bits that its mask, %#x, leaves out, so that no enclave would match", f.bits, f.mask)
		}
	}
	return p
}

func (r *RuleConfig) measurements(k *checker, field string, p *dcap.Policy) {
	if len(r.MREnclave) == 0 && len(r.MRSigner) == 0 {
		k.add(field, "give mr_enclave, mr_signer, or both ('ccctl sigstruct inspect FILE --as-policy' reads them from Gramine's .sig file)",
			"has neither mr_enclave nor mr_signer, so it would release to anyone's enclave")
	}
	for _, list := range []struct {
		name   string
		values []string
		to     *[][32]byte
	}{{"mr_enclave", r.MREnclave, &p.MRENCLAVE}, {"mr_signer", r.MRSigner, &p.MRSIGNER}} {
		seen := map[[32]byte]int{}
		for j, text := range list.values {
			at := fmt.Sprintf("%s.%s[%d]", field, list.name, j)
			m, err := parseMeasurement(text)
			if err != nil {
				k.add(at, "write 64 hex digits", "%v", err)
				continue
			}
			if m == [32]byte{} {
				k.add(at, "put the enclave's own measurement here", "is all zeros, which no enclave has")
			}
			if first, twice := seen[m]; twice {
				k.add(at, "remove one", "is the same as %s[%d]", list.name, first)
			}
			seen[m] = j
			*list.to = append(*list.to, m)
		}
	}
	if len(r.MREnclave) == 0 && len(r.MRSigner) > 0 {
		const remedy = "a signer's key signs many enclaves and their old versions: say which product and from which version on, or give mr_enclave"
		if r.ISVProdID == nil {
			k.add(field+".isv_prod_id", remedy, "is missing")
		}
		if r.MinISVSVN == nil {
			k.add(field+".min_isv_svn", remedy, "is missing")
		}
	}
}

// parseMeasurement reads 64 hex digits of either case.
func parseMeasurement(text string) (m [32]byte, err error) {
	if len(text) != hex.EncodedLen(len(m)) {
		return m, fmt.Errorf("has %d characters", len(text))
	}
	if _, err := hex.Decode(m[:], []byte(text)); err != nil {
		return [32]byte{}, fmt.Errorf("%q is not hexadecimal", text)
	}
	return m, nil
}

var advisoryPattern = regexp.MustCompile(`^INTEL-[A-Z]+-[0-9]+$`)

// read checks and compiles the conditions on the platform.
func (c *TCBConfig) read(k *checker, field string, p *dcap.Policy) {
	p.MinEvaluationNumber = c.MinEvaluationNumber
	if len(c.Accept) == 0 {
		k.add(field+".accept", "list statuses, for example [UpToDate, SWHardeningNeeded]; the Ice Lake machines of Alibaba Cloud's "+
			"g7t, c7t and r7t families are at best SWHardeningNeeded with INTEL-SA-00615", "is empty")
	}
	for i, word := range c.Accept {
		at := fmt.Sprintf("%s.accept[%d]", field, i)
		if status, ok := k.status(at, word); ok {
			p.AcceptStatuses = append(p.AcceptStatuses, status)
		}
		if slices.Contains(c.Accept[:i], word) {
			k.add(at, "remove one", "%q is listed twice", word)
		}
	}
	k.advisories(field+".accept_advisories", c.AcceptAdvisories)
	p.AcceptAdvisories = slices.Clone(c.AcceptAdvisories)
	for _, word := range slices.Sorted(maps.Keys(c.StatusAdvisories)) {
		at := fmt.Sprintf("%s.status_advisories.%s", field, word)
		if status, ok := k.status(at, word); ok {
			k.advisories(at, c.StatusAdvisories[word])
			if p.StatusAdvisories == nil {
				p.StatusAdvisories = map[dcap.Status][]string{}
			}
			p.StatusAdvisories[status] = slices.Clone(c.StatusAdvisories[word])
		}
	}
	for _, list := range []struct {
		name string
		from []string
		to   *[]dcap.FMSPC
	}{{"fmspc", c.FMSPC, &p.FMSPCs}, {"deny_fmspc", c.DenyFMSPC, &p.DenyFMSPCs}} {
		for i, digits := range list.from {
			fmspc, err := pccs.ParseFMSPC(digits)
			if err != nil {
				k.add(fmt.Sprintf("%s.%s[%d]", field, list.name, i), "write 12 hex digits, as 'ccctl quote inspect' shows them", "%q is not a family of platforms", digits)
				continue
			}
			*list.to = append(*list.to, fmspc)
		}
	}
}

// status reads a TCB status that can be accepted.
func (k *checker) status(field, word string) (dcap.Status, bool) {
	status, err := dcap.ParseStatus(word)
	switch {
	case err != nil:
		var words []string
		for _, s := range dcap.Statuses() {
			if s != dcap.StatusRevoked {
				words = append(words, string(s))
			}
		}
		k.add(field, "write one of "+strings.Join(words, ", "), "%q is not a TCB status", word)
	case status == dcap.StatusRevoked:
		k.add(field, "remove it; no setting accepts a revoked platform", "%q cannot be accepted", word)
	default:
		return status, true
	}
	return "", false
}

// advisories refuses what would never match: a misspelt id.
func (k *checker) advisories(field string, ids []string) {
	for i, id := range ids {
		if !advisoryPattern.MatchString(id) {
			k.add(fmt.Sprintf("%s[%d]", field, i), "write it as INTEL-SA-00615", "%q is not an advisory", id)
		}
	}
}

// canonicalName is a host name in the form in which names are compared: DNS ignores case and a final dot.
func canonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// RuleResult says how one rule judged an enclave.
type RuleResult struct {
	Rule     string
	Secret   string // that it would release
	Holds    bool
	Findings []dcap.Finding // every check, in order
}

// Failed are the checks that did not pass.
func (r *RuleResult) Failed() []dcap.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f dcap.Finding) bool { return f.OK })
}

// Decision is the answer of all rules together.
type Decision struct {
	Released bool
	Rule     string // the rule that released
	Secret   string // the name of the secret it releases
	// Results are the rules that were asked, in order: those before the one that released, and it. [Rules.Decide] leaves
	// them out of a release, where nobody asks.
	Results []RuleResult
}

// Decide asks the rules in order about a genuine enclave that asked for serverName; the first that holds releases.
func (rs *Rules) Decide(v *dcap.Verdict, serverName string) Decision {
	for i := range rs.rules {
		r := &rs.rules[i]
		if r.nameFinding(serverName).OK && r.policy.Check(v) == nil {
			return Decision{Released: true, Rule: r.name, Secret: r.secret}
		}
	}
	return rs.Explain(v, serverName)
}

// Explain is Decide with every check of every rule, also of those behind the one that releases.
func (rs *Rules) Explain(v *dcap.Verdict, serverName string) Decision {
	var d Decision
	for i := range rs.rules {
		r := &rs.rules[i]
		result := r.explain(v, serverName)
		d.Results = append(d.Results, result)
		if result.Holds && !d.Released {
			d.Released, d.Rule, d.Secret = true, r.name, r.secret
		}
	}
	return d
}

func (r *rule) explain(v *dcap.Verdict, serverName string) RuleResult {
	result := RuleResult{Rule: r.name, Secret: r.secret, Findings: []dcap.Finding{r.nameFinding(serverName)}}
	result.Findings = append(result.Findings, r.policy.Explain(v)...)
	result.Holds = true
	for _, f := range result.Findings {
		result.Holds = result.Holds && f.OK
	}
	return result
}

// nameFinding compares the name that the enclave asked for.
func (r *rule) nameFinding(serverName string) dcap.Finding {
	f := dcap.Finding{Check: "server_name", Want: "any name", Got: "none", OK: true}
	if serverName != "" {
		f.Got = serverName
	}
	if len(r.serverNames) > 0 {
		f.Want = strings.Join(r.serverNames, " or ")
		if f.OK = slices.Contains(r.serverNames, canonicalName(serverName)); !f.OK {
			f.Remedy = "the enclave asks for the host in its SECRET_PROVISION_SERVERS: change that, or the rule's server_name"
		}
	}
	return f
}

// Closest is the result of the rule that came closest to releasing: the one with the fewest failed checks, a matching
// measurement counting most. It is nil without rules.
func (d *Decision) Closest() *RuleResult {
	var best *RuleResult
	bestScore := 0
	for i := range d.Results {
		score := 0
		for _, f := range d.Results[i].Findings {
			if f.OK {
				continue
			}
			score++
			if f.Check == "mr_enclave" || f.Check == "mr_signer" {
				score += 100
			}
		}
		if best == nil || score < bestScore {
			best, bestScore = &d.Results[i], score
		}
	}
	return best
}
