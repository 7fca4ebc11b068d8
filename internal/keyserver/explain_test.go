package keyserver

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func (w *world) quote(change func(id *sgxsim.Identity)) *quote.Quote {
	w.t.Helper()
	id := w.identity
	if change != nil {
		change(&id)
	}
	q, err := w.platform.NewQuote(id, [64]byte{})
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	cfg := w.parse(w.base() + "rules:\n" + w.rule("by name", "model-hex", "server_name: [a.example.com]") + w.rule("by enclave", "model"))

	x, err := Explain(t.Context(), cfg, w.quote(nil), ExplainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !x.Decision.Released || x.Decision.Rule != "by enclave" || len(x.Decision.Results) != 2 || len(x.Reasons()) != 0 || x.IsUnreachable() {
		t.Errorf("explanation %+v", x)
	}
	for _, r := range x.Decision.Results {
		if len(r.Findings) < 6 {
			t.Errorf("rule %s has %d findings only: %+v", r.Rule, len(r.Findings), r.Findings)
		}
	}
	if x, err = Explain(t.Context(), cfg, w.quote(nil), ExplainOptions{ServerName: "A.example.com"}); err != nil || x.Decision.Rule != "by name" {
		t.Errorf("with a name: %+v, %v", x, err)
	}

	x, err = Explain(t.Context(), cfg, w.quote(func(id *sgxsim.Identity) { id.Debug = true }), ExplainOptions{})
	if err != nil || x.Decision.Released || !strings.Contains(x.Reasons().String(), `rule "by enclave": debug: got a debug enclave`) {
		t.Errorf("debug: %+v, %v", x, err)
	}

	// Before any question fails: a failure abandons requests that the service may see later.
	bundle := w.bundle()
	w.setFault(func(*http.Request, *sgxsim.Answer) { t.Error("the service was asked") })
	if x, err = Explain(t.Context(), cfg, w.quote(nil), ExplainOptions{Collateral: bundle}); err != nil || !x.Decision.Released {
		t.Errorf("with a collateral file: %+v, %v", x, err)
	}
	w.setFault(nil)

	// A time far off is a time at which nothing is valid.
	x, err = Explain(t.Context(), cfg, w.quote(nil), ExplainOptions{At: time.Now().Add(40 * 24 * time.Hour)})
	if err != nil || x.Refusal == nil || !x.IsUnreachable() || !strings.Contains(x.Reasons().String(), "the service's own copy expired") {
		t.Errorf("in forty days: %+v, %v", x, err)
	}

	q := w.quote(nil)
	q.Body.ISVSVN++
	var failure *dcap.Error
	x, err = Explain(t.Context(), cfg, q, ExplainOptions{})
	if err != nil || x.IsUnreachable() || !errors.As(x.Refusal, &failure) || failure.Stage != dcap.StageQuoteSignature || !strings.HasPrefix(x.Reasons().String(), "quote_signature/signature: ") {
		t.Errorf("a forged quote: %+v, %v", x, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Explain(ctx, cfg, w.quote(nil), ExplainOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	w.write("root.pem", []byte("x"))
	if _, err = Explain(t.Context(), cfg, w.quote(nil), ExplainOptions{}); err == nil || !strings.HasPrefix(err.Error(), "read trust root ") {
		t.Errorf("without root: %v", err)
	}
}

// TestExplainNeedsNoSecret: whoever asks why an enclave is refused need not be allowed to read keys.
func TestExplainNeedsNoSecret(t *testing.T) {
	w := newWorld(t)
	cfg := w.parse(w.config())
	for _, name := range []string{"wrap-key", "server-key.pem", "server.pem"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := Explain(t.Context(), cfg, w.quote(nil), ExplainOptions{}); err != nil || !x.Decision.Released {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestCheckConfig(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(w.dir, "server.yaml")
	w.write("server.yaml", []byte(w.config()))
	cfg, warnings, err := CheckConfig(file, Options{})
	if err != nil || len(warnings) != 2 || cfg.Path() != file {
		t.Errorf("%v, %q, %v", cfg, warnings, err)
	}
	w.write("server.yaml", []byte(strings.Replace(strings.Replace(w.config(), "server.pem", "absent.pem", 1), "model-hex, file: wrap-key", "model-hex, file: root.pem", 1)))
	_, _, err = CheckConfig(file, Options{})
	var problems *ConfigError
	if !errors.As(err, &problems) || len(problems.Problems) != 2 || problems.Path != file ||
		problems.Problems[0].Field != "tls" || problems.Problems[1].Field != "secrets[1].file" {
		t.Errorf("two problems: %v", err)
	}
	w.write("server.yaml", []byte("x"))
	if _, _, err = CheckConfig(file, Options{}); !errors.As(err, &problems) {
		t.Errorf("no configuration: %v", err)
	}
}

// TestRealClients judges certificates that Gramine's own client libraries made on a simulated platform; their README says
// what they are.
func TestRealClients(t *testing.T) {
	dir := filepath.Join("..", "sgxcrypto", "ratls", "testdata", "gramine")
	read := func(name string) []byte {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var index struct {
		Vectors []struct{ File, Expect string }
	}
	if err := json.Unmarshal(read("index.json"), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Vectors) < 6 {
		t.Fatalf("%d vectors", len(index.Vectors))
	}
	var tcb struct {
		TCBInfo struct {
			FMSPC     string
			IssueDate time.Time
		}
	}
	if err := json.Unmarshal(read("collateral/tcbinfo.json"), &tcb); err != nil {
		t.Fatal(err)
	}
	fmspc, err := pccs.ParseFMSPC(tcb.TCBInfo.FMSPC)
	if err != nil {
		t.Fatal(err)
	}
	var bundle pccs.Bundle
	collateral := &dcap.Collateral{
		TCBInfo: read("collateral/tcbinfo.json"), TCBInfoIssuerChain: read("collateral/tcb_chain.pem"),
		QEIdentity: read("collateral/qeidentity.json"), QEIdentityIssuerChain: read("collateral/tcb_chain.pem"),
		PCKCRL: read("collateral/pckcrl.hex"), PCKCRLIssuerChain: read("collateral/pck_crl_chain.pem"), RootCACRL: read("collateral/rootcrl.der"),
	}
	for _, ca := range []string{dcap.CAPlatform, dcap.CAProcessor} {
		if err := bundle.Add(&dcap.Platform{FMSPC: fmspc, CA: ca}, collateral); err != nil {
			t.Fatal(err)
		}
	}
	for _, allowDebug := range []bool{false, true} {
		root, err := filepath.Abs(filepath.Join(dir, "collateral", "root.pem"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := ParseConfig(fmt.Appendf(nil, `
listen: ":4433"
tls: { certificate: server.pem, private_key: server-key.pem }
collateral: { region: cn-beijing }
allow_trusted_root: %s
secrets: [{ name: model, file: wrap-key }]
rules:
  - name: by enclave
    mr_enclave: [%s]
    mr_signer: [%s]
    tcb: { accept: [UpToDate] }
    allow_debug: %v
    secret: model
`, root, strings.Repeat("ab", 32), strings.Repeat("cd", 32), allowDebug), "/")
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range index.Vectors {
			t.Run(fmt.Sprintf("%s debug %v", v.File, allowDebug), func(t *testing.T) {
				c, err := x509.ParseCertificate(read(v.File))
				if err != nil {
					t.Fatal(err)
				}
				evidence, err := ratls.ParseCertificate(c)
				if v.Expect == "reject" {
					if err == nil {
						t.Error("its quote binds its key")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				x, err := Explain(t.Context(), cfg, evidence.Quote, ExplainOptions{
					At: tcb.TCBInfo.IssueDate.Add(time.Hour), Collateral: &bundle,
				})
				if err != nil {
					t.Fatal(err)
				}
				want := v.Expect == "accept" || allowDebug
				if x.Decision.Released != want {
					t.Errorf("released: %v, want %v: %v", x.Decision.Released, want, x.Reasons())
				}
				if !want && (len(x.Reasons()) != 1 || x.Reasons()[0].Check != "debug") {
					t.Errorf("reasons: %v", x.Reasons())
				}
			})
		}
	}
}
