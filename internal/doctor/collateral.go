package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// When to warn of an expiry. Documents last 30 days, and a service that works renews them daily; certificates last years.
const (
	documentSoon = 3 * 24 * time.Hour
	chainSoon    = 30 * 24 * time.Hour
)

// collateral verifies what the source serves, and says how long each part of it lasts.
func (v *visit) collateral(ctx context.Context) []Finding {
	switch {
	case v.bundle != nil:
		return v.bundled(ctx)
	case v.client == nil:
		return nil
	case !v.reached:
		return []Finding{skip("the service cannot be asked for it")}
	}
	var all []Finding
	for _, ca := range []string{dcap.CAPlatform, dcap.CAProcessor} {
		fmspc := v.FMSPC
		if ca == dcap.CAProcessor {
			fmspc = nil // the TCB info is the same
		}
		c, errs := v.client.Available(ctx, fmspc, ca)
		for _, err := range errs {
			all = append(all, v.unavailable(err, ca)...)
		}
		found, err := v.inspect(c, ca, ca == dcap.CAProcessor)
		if err != nil {
			return append(all, failed(err))
		}
		all = append(all, found...)
	}
	if v.FMSPC == nil {
		all = append(all, skip("no family of platforms was named: give one with --fmspc or --quote").named("TCB info"))
	}
	return all
}

// unavailable reports a document that the service did not serve; those that all CAs share, once.
func (v *visit) unavailable(err error, ca string) []Finding {
	var e *pccs.Error
	if !errors.As(err, &e) {
		return []Finding{failed(err)}
	}
	name, _, _ := strings.Cut(e.Document, " of FMSPC")
	f := failed(err).named(name)
	if ca == dcap.CAProcessor {
		if !strings.Contains(e.Document, ca) {
			return nil
		}
		// Servers since Ice Lake are under the other CA: not every service has this one's.
		f.Status, f.Remedy, f.Err = Warn, "of no matter unless quotes come from machines of one processor that are older than Ice Lake", nil
	}
	if v.FMSPC != nil && strings.HasSuffix(e.Document, v.FMSPC.String()) && e.Kind == pccs.NotFound {
		f.Remedy = fmt.Sprintf("check the FMSPC: %s must be that of an SGX platform; 'ccctl quote inspect' shows a quote's", v.FMSPC)
	}
	return []Finding{f}
}

// bundled looks into a collateral file, whose families are all looked at unless one is named.
func (v *visit) bundled(ctx context.Context) []Finding {
	var all []Finding
	families := v.bundle.Platforms()
	if v.FMSPC != nil {
		families = []string{v.FMSPC.String()}
	}
	for i, family := range families {
		fmspc, err := pccs.ParseFMSPC(family)
		if err != nil {
			return append(all, failed(err))
		}
		var last error
		inspected := false
		for _, ca := range []string{dcap.CAPlatform, dcap.CAProcessor} {
			c, err := v.bundle.Collateral(ctx, &dcap.Platform{FMSPC: fmspc, CA: ca})
			if err != nil {
				last = err
				continue
			}
			found, err := v.inspect(c, ca, inspected || i > 0)
			if err != nil {
				return append(all, failed(err))
			}
			all, inspected = append(all, found...), true
		}
		if !inspected {
			all = append(all, failed(last))
		}
	}
	if len(families) == 0 {
		all = append(all, fail("fetch it with 'ccctl collateral fetch'", "the file holds no TCB info"))
	}
	return all
}

// inspect verifies collateral of a CA and judges its dates. Of a second inspection only what differs is reported: TCB
// info and what belongs to the CA.
func (v *visit) inspect(c *dcap.Collateral, ca string, second bool) ([]Finding, error) {
	in, err := dcap.InspectCollateral(c, v.Roots)
	if err != nil {
		return nil, err
	}
	v.seen = append(v.seen, in)
	var all []Finding
	for _, p := range in.Parts {
		ofCA := strings.HasPrefix(p.Name, "PCK CRL")
		if second && !ofCA && !strings.HasPrefix(p.Name, "TCB info") {
			continue
		}
		name := p.Name
		if ofCA {
			name = strings.Replace(name, "PCK", "PCK "+ca, 1)
		}
		all = append(all, v.part(p).named(name))
	}
	return all, nil
}

func (v *visit) part(p dcap.Part) Finding {
	if p.Err != nil {
		f := failed(p.Err)
		var e *dcap.Error
		if errors.As(p.Err, &e) && e.Reason == dcap.ReasonUntrustedRoot && v.Roots == nil {
			f.Remedy = "ask a service that has Intel's documents; for a simulated platform name its root with --trusted-root"
		}
		return f
	}
	if early := p.Issued.Sub(v.Now()); early > 0 {
		return fail(clockRemedy, "issued on %s, in %s: this machine's clock is behind", date(p.Issued), period(early))
	}
	soon, remedy := documentSoon, "refresh the service's cache, or ask another service: this one does not renew what it has"
	if v.bundle != nil {
		remedy = "fetch the file anew with 'ccctl collateral fetch'"
	}
	if strings.HasSuffix(p.Name, "chain") {
		soon = chainSoon
	}
	f := v.lasting(p.Expires, soon, remedy)
	f.Found = fmt.Sprintf("issued on %s, %s", date(p.Issued), f.Found)
	return f
}

// early compares the sets of TCB levels that are in force now and after the next TCB recovery.
func (v *visit) early(ctx context.Context) []Finding {
	if v.client == nil || v.FMSPC == nil || !v.reached {
		return nil
	}
	if v.Place.AllowAPIv3 || v.Place.EvaluationNumber != 0 {
		return []Finding{skip("one set of TCB levels was asked for")}
	}
	var sets [2]*dcap.Inspection
	for i, update := range []pccs.Update{pccs.UpdateStandard, pccs.UpdateEarly} {
		place := *v.Place
		place.Update = string(update)
		client, err := place.Client()
		if err != nil {
			return []Finding{failed(err)}
		}
		defer client.Close()
		c, errs := client.Available(ctx, v.FMSPC, dcap.CAPlatform)
		switch absent := len(c.TCBInfo) == 0 || len(c.QEIdentity) == 0; {
		case absent && update == pccs.UpdateStandard:
			return []Finding{skip("the standard set could not be had")}
		case absent:
			return []Finding{failed(errs[0])}
		}
		if sets[i], err = dcap.InspectCollateral(c, v.Roots); err != nil {
			return []Finding{failed(err)}
		}
		if sets[i].TCBInfo == nil || sets[i].QEIdentity == nil {
			return []Finding{skip("the %s set is not genuine", update)}
		}
	}
	return []Finding{compare(sets[0], sets[1])}
}

// compare says what becomes of each level of the standard set under the early one.
func compare(standard, early *dcap.Inspection) Finding {
	changes := levelChanges("platform", standard.TCBInfo.Levels, early.TCBInfo.Levels)
	changes = append(changes, levelChanges("quoting enclave", standard.QEIdentity.Levels, early.QEIdentity.Levels)...)
	now, then := standard.TCBInfo.EvaluationNumber, early.TCBInfo.EvaluationNumber
	switch {
	case now == then && len(changes) == 0:
		return ok("the same as the standard ones, evaluation number %d; or the service ignores the argument, as old ones do", now)
	case len(changes) == 0:
		return ok("evaluation number %d after %d, with the same statuses", then, now)
	}
	f := warn("patch platforms that get worse, or accept their coming status in time: the early set becomes the standard one about six weeks after a disclosure",
		"evaluation number %d after %d: %d levels change", then, now, len(changes))
	f.Details = changes
	return f
}

func levelChanges(what string, now, then []dcap.TCBLevel) []string {
	var changes []string
	for _, l := range now {
		before, after := rating(&l), "below every level"
		if i := slices.IndexFunc(then, func(t dcap.TCBLevel) bool { return reaches(&l, &t) }); i >= 0 {
			after = rating(&then[i])
		}
		if before != after {
			changes = append(changes, fmt.Sprintf("%s at %s: %s becomes %s", what, versions(&l), before, after))
		}
	}
	return changes
}

// reaches reports whether something at level l has at least level t.
func reaches(l, t *dcap.TCBLevel) bool {
	for i := range l.Components {
		if l.Components[i] < t.Components[i] {
			return false
		}
	}
	return l.PCESVN >= t.PCESVN && l.ISVSVN >= t.ISVSVN
}

func rating(l *dcap.TCBLevel) string {
	if len(l.Advisories) == 0 {
		return string(l.Status)
	}
	return fmt.Sprintf("%s (%s)", l.Status, strings.Join(l.Advisories, ", "))
}

func versions(l *dcap.TCBLevel) string {
	if l.ISVSVN != 0 || l.Components == [16]uint8{} && l.PCESVN == 0 {
		return fmt.Sprintf("ISVSVN %d", l.ISVSVN)
	}
	return fmt.Sprintf("components %v, PCESVN %d", l.Components, l.PCESVN)
}
