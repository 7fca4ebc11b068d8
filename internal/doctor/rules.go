package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// rules holds the configuration's rules against the collateral that is served: a rule that no enclave can fulfil, on
// whatever platform, is a mistake that shows as refusals otherwise.
func (v *visit) rules(context.Context) []Finding {
	if v.cfg == nil || len(v.seen) == 0 {
		return nil
	}
	var all []Finding
	in := v.seen[0]
	for i := range v.cfg.Rules {
		all = append(all, v.rule(&v.cfg.Rules[i], in)...)
	}
	if limit := time.Duration(v.cfg.Collateral.MaxAge); limit > 0 {
		for _, p := range in.Parts {
			if age := v.Now().Sub(p.Issued); (p.Name == "TCB info" || p.Name == "QE identity") && p.Err == nil && age > limit {
				all = append(all, fail("ask a service that renews what it has, or raise collateral.max_age",
					"the %s is %s old, and collateral.max_age is %s: every enclave is refused", p.Name, period(age), period(limit)))
			}
		}
	}
	if len(all) == 0 {
		return []Finding{ok("what the service has can fulfil them")}
	}
	return all
}

func (v *visit) rule(r *keyserver.RuleConfig, in *dcap.Inspection) []Finding {
	var all []Finding
	number := func(document string, have uint32) {
		if have < r.TCB.MinEvaluationNumber {
			all = append(all, fail("take the early set (collateral.update), ask a service with newer collateral, or lower min_evaluation_number",
				"rule %q wants min_evaluation_number %d, and the %s has %d: every enclave is refused", r.Name, r.TCB.MinEvaluationNumber, document, have))
		}
	}
	if in.QEIdentity != nil {
		number("QE identity", in.QEIdentity.EvaluationNumber)
	}
	if in.TCBInfo == nil {
		return all
	}
	number("TCB info", in.TCBInfo.EvaluationNumber)
	p, problems := r.Policy()
	if len(problems) > 0 {
		return all // the configuration's own check has said so
	}
	if len(p.FMSPCs) > 0 && !slices.Contains(p.FMSPCs, in.TCBInfo.FMSPC) || slices.Contains(p.DenyFMSPCs, in.TCBInfo.FMSPC) {
		return append(all, skip("rule %q is not for FMSPC %s", r.Name, in.TCBInfo.FMSPC))
	}
	fulfilled := func(l dcap.TCBLevel) bool {
		accepted := slices.Concat(p.AcceptAdvisories, p.StatusAdvisories[l.Status])
		return slices.Contains(p.AcceptStatuses, l.Status) &&
			!slices.ContainsFunc(l.Advisories, func(id string) bool { return !slices.Contains(accepted, id) })
	}
	if best := in.TCBInfo.Levels[0]; !slices.ContainsFunc(in.TCBInfo.Levels, fulfilled) {
		accept := fmt.Sprintf("tcb: { accept: [%s] }", best.Status)
		if len(best.Advisories) > 0 {
			accept = fmt.Sprintf("tcb: { accept: [%s], accept_advisories: [%s] }", best.Status, strings.Join(best.Advisories, ", "))
		}
		all = append(all, fail("read the advisories, and if you can live with them accept exactly these: "+accept,
			"rule %q can be fulfilled by no platform of FMSPC %s: the best status there is %s", r.Name, in.TCBInfo.FMSPC, rating(&best)))
	}
	return all
}
