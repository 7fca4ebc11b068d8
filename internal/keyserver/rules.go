package keyserver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
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
	r := rule{name: c.Name, secret: c.Secret, policy: dcap.Policy{
		AcceptAdvisories:    slices.Clone(c.TCB.AcceptAdvisories),
		MinEvaluationNumber: c.TCB.MinEvaluationNumber,
		MaxCollateralAge:    maxAge,
		ISVProdID:           c.ISVProdID,
		MinISVSVN:           c.MinISVSVN,
		AllowDebug:          c.AllowDebug,
	}}
	for _, name := range c.ServerName {
		r.serverNames = append(r.serverNames, canonicalName(name))
	}
	for _, word := range c.TCB.Accept {
		status, err := dcap.ParseStatus(word)
		if err != nil {
			return rule{}, err
		}
		r.policy.AcceptStatuses = append(r.policy.AcceptStatuses, status)
	}
	for _, list := range []struct {
		from []string
		to   *[][32]byte
	}{{c.MREnclave, &r.policy.MRENCLAVE}, {c.MRSigner, &r.policy.MRSIGNER}} {
		for _, text := range list.from {
			m, err := parseMeasurement(text)
			if err != nil {
				return rule{}, err
			}
			*list.to = append(*list.to, m)
		}
	}
	return r, nil
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
