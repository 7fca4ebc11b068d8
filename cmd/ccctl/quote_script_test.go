package main

import (
	"crypto/sha256"
	"net/http/httptest"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// simulatedAt is the time that simulated evidence in scripts is made for: 2026-11-02T10:00:00Z.
var simulatedAt = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// simulatedMeasurement is SHA-256("MRENCLAVE") or the like.
func simulatedMeasurement(name string) [32]byte { return sha256.Sum256([]byte(name)) }

// cmdSimulateSGX is the script command "simulate-sgx DIR [standard|revoked|debug|tampered|hex]". It puts a simulated
// platform's root.pem, quote.bin, collateral.json and other.json (collateral of another family) into a new directory and
// serves its collateral at $PCCS until the script ends.
func cmdSimulateSGX(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: simulate-sgx DIR [VARIANT]")
	}
	variant := append(args, "standard")[1]
	p, err := sgxsim.New(sgxsim.Options{At: simulatedAt})
	ts.Check(err)
	if variant == "revoked" {
		p.Standard.Levels[0].Status = string(dcap.StatusRevoked)
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	write := func(name string, data []byte) { ts.Check(os.WriteFile(dir+"/"+name, data, 0o600)) }

	q, err := p.NewQuote(sgxsim.Identity{
		MRENCLAVE: simulatedMeasurement("MRENCLAVE"), MRSIGNER: simulatedMeasurement("MRSIGNER"), ISVProdID: 7, ISVSVN: 3,
		Debug: variant == "debug",
	}, [64]byte{1, 2, 3})
	ts.Check(err)
	if variant == "tampered" {
		q.Body.MRENCLAVE[0] ^= 1
	}
	write("root.pem", p.RootPEM())
	write("quote.bin", marshalQuote(ts, q, variant))
	write("collateral.json", simulatedBundle(ts, p, dcap.FMSPC(p.Machine.FMSPC)))
	write("other.json", simulatedBundle(ts, p, dcap.FMSPC{0, 0x90, 0x6e, 0xd5}))

	server := httptest.NewServer(&sgxsim.PCCS{Platform: p, Now: func() time.Time { return simulatedAt }})
	ts.Defer(server.Close)
	ts.Setenv("PCCS", server.URL)
}

func marshalQuote(ts *testscript.TestScript, q *quote.Quote, variant string) []byte {
	raw, err := q.Marshal()
	ts.Check(err)
	switch variant {
	case "type3":
		raw[1014+len(q.QEAuthData)] = byte(quote.CertPPIDRSA3072)
	case "version4":
		raw[0] = 4
	}
	return raw
}

func simulatedBundle(ts *testscript.TestScript, p *sgxsim.Platform, fmspc dcap.FMSPC) []byte {
	c, err := p.Collateral(simulatedAt)
	ts.Check(err)
	info := p.TCBInfo(simulatedAt, p.Standard)
	info.FMSPC = fmspc[:]
	c.TCBInfo, err = info.Sign(p.TCBSigner)
	ts.Check(err)
	bundle := &pccs.Bundle{Source: "simulated", Fetched: simulatedAt}
	converted := dcap.Collateral(*c)
	ts.Check(bundle.Add(&dcap.Platform{FMSPC: fmspc, CA: dcap.CAPlatform}, &converted))
	data, err := bundle.Marshal()
	ts.Check(err)
	return data
}

// cmdExpand is the script command "expand FILE...": it replaces $NAME in files by the script's variables.
func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}
