package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// cmdSimulatePCCS is the script command "simulate-pccs DIR [VARIANT]": a collateral service of a simulated platform of
// today at $PCCS, with the platform's root.pem and quote.bin in a new directory. The variants are faults:
//
//	tls      https with a certificate of its own authority, tls-ca.pem
//	behind   its clock, by three hours
//	v3       it knows version 3 of the API only
//	stale    it serves what expired a week ago
//	old      it serves what expires tomorrow
//	forged   its TCB info has been changed
//	revoked  Intel has revoked the certificate that signs its documents
//	gone     nobody listens any more
func cmdSimulatePCCS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: simulate-pccs DIR [VARIANT]")
	}
	variant := append(args, "good")[1]
	p, err := sgxsim.New(sgxsim.Options{})
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	write := func(name string, data []byte) { ts.Check(os.WriteFile(dir+"/"+name, data, 0o600)) }
	write("root.pem", p.RootPEM())
	q, err := p.NewQuote(sgxsim.Identity{MRENCLAVE: simulatedMeasurement("MRENCLAVE")}, [64]byte{})
	ts.Check(err)
	write("quote.bin", marshalQuote(ts, q, ""))

	service, start := &sgxsim.PCCS{Platform: p, Now: time.Now}, httptest.NewServer
	switch variant {
	case "good", "gone":
	case "tls":
		start = httptest.NewTLSServer
	case "behind":
		service.Fault = func(_ *http.Request, a *sgxsim.Answer) {
			a.Header.Set("Date", time.Now().Add(-3*time.Hour).UTC().Format(http.TimeFormat))
		}
	case "v3":
		service.Fault = func(r *http.Request, a *sgxsim.Answer) {
			if strings.Contains(r.URL.Path, "/v4/") {
				a.Status = http.StatusNotFound
			}
		}
	case "stale":
		service.Now = func() time.Time { return time.Now().AddDate(0, 0, -37) }
	case "old":
		service.Now = func() time.Time { return time.Now().AddDate(0, 0, -29) }
	case "forged":
		service.Fault = func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/tcb") {
				a.Body = []byte(strings.Replace(string(a.Body), string(dcap.StatusSWHardeningNeeded), string(dcap.StatusUpToDate), 1))
			}
		}
	case "revoked":
		p.RevokedByRoot = append(p.RevokedByRoot, p.TCBSigner.Certificate.Serial)
	default:
		ts.Fatalf("unknown variant %s", variant)
	}
	server := start(service)
	ts.Defer(server.Close)
	if c := server.Certificate(); c != nil {
		write("tls-ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	if variant == "gone" {
		server.Close()
	}
	ts.Setenv("PCCS", server.URL)
}
