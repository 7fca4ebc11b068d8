package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// How far clocks may be apart. Collateral is valid for weeks; what breaks first is what was issued a moment ago.
const (
	skewTolerated = 30 * time.Second
	skewHarmful   = 5 * time.Minute
)

const clockRemedy = "let this machine's clock be set from the network: timedatectl set-ntp true, or chronyc makestep"

// service asks the service who it is: whether it is there, which version of the API it speaks, and what time it has.
func (v *visit) service(ctx context.Context) []Finding {
	if v.client == nil {
		return nil // there is a file instead, or the check before has failed
	}
	g, err := v.client.Greet(ctx)
	if err != nil {
		f := failed(err)
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			f.Remedy = "renew the service's certificate; if it is current, this machine's clock is wrong: " + clockRemedy
		}
		return []Finding{f}
	}
	all := []Finding{ok("answered in %s", g.Latency)}
	all = append(all, v.version(g).named("API version"))
	if g.Warning != "" {
		all = append(all, warn("read what its operator announces", "the service warns: %s", g.Warning).named("API version"))
	}
	if !g.TLSExpires.IsZero() {
		all = append(all, v.lasting(g.TLSExpires, 14*24*time.Hour, "renew it, or tell the service's operator").named("service certificate"))
	}
	return append(all, clock(g).named("clock"))
}

func (v *visit) version(g *pccs.Greeting) Finding {
	v.reached = g.APIVersion == 4 || v.Place.AllowAPIv3
	switch {
	case g.APIVersion == 4:
		return ok("4")
	case !v.reached:
		return fail("update the service: Intel's PCCS speaks version 4 since DCAP 1.14, and needs 1.27 to fetch anything since Intel retired version 3",
			"3 only: it answers under %s", g.URL)
	default:
		return warn("update the service, or ask another", "3, which Intel has retired: its TCB info lists no advisories")
	}
}

func clock(g *pccs.Greeting) Finding {
	if g.DateMissing {
		return skip("the service does not say what time it has")
	}
	return judgeSkew(g.Skew, g.SkewError, "the service")
}

// judgeSkew judges how far this machine's clock is ahead of another's, give or take an uncertainty.
func judgeSkew(skew, uncertain time.Duration, whose string) Finding {
	far := skew.Abs() - uncertain
	if far < 0 {
		return ok("as %s's, to within %s", whose, period(uncertain))
	}
	direction := "behind"
	if skew > 0 {
		direction = "ahead of"
	}
	const format = "this machine's clock is %s %s %s's"
	switch {
	case far < skewTolerated:
		return ok(format, period(skew), direction, whose)
	case far < skewHarmful:
		return warn(clockRemedy, format, period(skew), direction, whose)
	default:
		return fail(clockRemedy+"; if it is right, "+whose+"'s clock is wrong", format, period(skew), direction, whose)
	}
}

// lasting judges an expiry date: soon is when to warn of it.
func (v *visit) lasting(expires time.Time, soon time.Duration, remedy string) Finding {
	left := expires.Sub(v.Now())
	switch {
	case left < 0:
		return fail(remedy, "expired on %s, %s ago", date(expires), period(left))
	case left < soon:
		return warn(remedy, "expires on %s, in %s", date(expires), period(left))
	}
	return ok("expires on %s, in %s", date(expires), period(left))
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func names(cert *x509.Certificate) []string {
	all := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		if s := ip.String(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
