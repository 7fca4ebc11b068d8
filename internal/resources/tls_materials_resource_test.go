package resources_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

const tlsAddr = "cc_tls_materials.serving"

// tlsConfig is a cc_tls_materials with two-way TLS and further arguments, one a line.
func tlsConfig(dir string, arguments ...string) string {
	return tlsArguments(append([]string{
		"directory = " + quote(dir), `server_names = ["grpc.tf-serving.service.com"]`, `client_name = "client.tf-serving.service.com"`,
	}, arguments...)...)
}

func tlsArguments(arguments ...string) string {
	return "resource \"cc_tls_materials\" \"serving\" {\n  " + strings.Join(arguments, "\n  ") + "\n}\n"
}

func tlsAttribute(name string) tfjsonpath.Path { return tfjsonpath.New(name) }

func tlsFile(dir, name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }

// soundTLS reads a directory and wants nothing wrong with it.
func soundTLS(t *testing.T, dir string) *tlsmaterials.Materials {
	t.Helper()
	return soundTLSWith(t, dir, "ca_key.pem")
}

// soundTLSWith is soundTLS for a set with the given keys of authorities.
func soundTLSWith(t *testing.T, dir string, keys ...string) *tlsmaterials.Materials {
	t.Helper()
	m, findings, err := deploy.ReadTLSMaterials(dir)
	if err != nil {
		t.Fatal(err)
	}
	if findings = append(findings, m.Check(time.Now())...); len(findings) > 0 {
		t.Errorf("%s: %v", dir, findings)
	}
	for _, file := range tlsmaterials.AuthorityKeyFiles() {
		if !slices.Contains(keys, file) {
			mustBeGone(t, tlsFile(dir, file))
		}
	}
	for _, file := range append(tlsmaterials.LeafPaths(m.Places(), m.SSLConfig), append(keys, "ca_cert.pem")...) {
		info, err := os.Stat(tlsFile(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]os.FileMode{true: 0o600, false: 0o644}[tlsmaterials.IsSecret(file)]; info.Mode() != want {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	return m
}

// remembered reads files now and tells later which of them have changed.
type remembered map[string][]byte

func remember(t *testing.T, dir string, files ...string) remembered {
	t.Helper()
	r := remembered{}
	for _, f := range files {
		r[tlsFile(dir, f)] = mustRead(t, tlsFile(dir, f))
	}
	return r
}

func (r remembered) expect(t *testing.T, changed bool) {
	t.Helper()
	for file, before := range r {
		if now := mustRead(t, file); bytes.Equal(now, before) == changed {
			t.Errorf("%s: changed is %t, want %t", file, !changed, changed)
		}
	}
}

func TestTLSMaterialsLife(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, moved := filepath.Join(root, "new", "ssl_configure"), filepath.Join(root, "moved")
	var kept, replaced remembered
	sameCA := statecheck.CompareValue(compare.ValuesSame())
	newServer := statecheck.CompareValue(compare.ValuesDiffer())
	track := func(more ...statecheck.StateCheck) []statecheck.StateCheck {
		return append(more, sameCA.AddStateValue(tlsAddr, tlsAttribute("ca_certificate_sha256")),
			newServer.AddStateValue(tlsAddr, tlsAttribute("server_certificate_sha256")))
	}
	two := []string{`server_names = ["grpc.tf-serving.service.com", "10.0.0.1"]`, `client_name = "client.tf-serving.service.com"`, `on_destroy = "delete"`}

	accept(t,
		resource.TestStep{ // create
			Config: tlsConfig(dir),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("ssl_config_file"), knownvalue.StringExact(tlsFile(dir, "ssl.cfg"))),
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("server_key_file"), knownvalue.StringExact(tlsFile(dir, "server/key.pem"))),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ca_certificate_pem")),
			}},
			ConfigStateChecks: track(
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ssl_config"), knownvalue.Bool(true)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("validity_period_hours"), knownvalue.Int64Exact(8760)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("early_renewal_hours"), knownvalue.Int64Exact(720)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("problems"), knownvalue.ListSizeExact(0)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ready_for_renewal"), knownvalue.Bool(false)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("id"), knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{64}$`))),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("not_after"), knownvalue.StringRegexp(regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`))),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ca_certificate_file"), knownvalue.StringExact(tlsFile(dir, "ca_cert.pem"))),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("client_key_file"), knownvalue.StringExact(tlsFile(dir, "client/key.pem"))),
			),
			Check: func(s *terraform.State) error {
				soundTLS(t, dir)
				kept = remember(t, dir, "ca_key.pem", "ca_cert.pem", "client/key.pem", "client/cert.pem")
				replaced = remember(t, dir, "server/key.pem", "server/cert.pem", "ssl.cfg")
				return resource.TestCheckResourceAttr(tlsAddr, "server_certificate_pem", string(mustRead(t, tlsFile(dir, "server/cert.pem"))))(s)
			},
		},
		resource.TestStep{Config: tlsConfig(dir), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // new names: new leaf, same authority, and what uses the files is planned again
			Config: tlsArguments(append(two, "directory = "+quote(dir))...),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(tlsAddr, plancheck.ResourceActionUpdate),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("server_certificate_pem")),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ssl_config_file")),
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("client_certificate_file"), knownvalue.StringExact(tlsFile(dir, "client/cert.pem"))),
			}},
			ConfigStateChecks: track(statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ssl_config_file"), knownvalue.StringExact(tlsFile(dir, "ssl.cfg")))),
			Check: func(*terraform.State) error {
				soundTLS(t, dir)
				kept.expect(t, false)
				replaced.expect(t, true)
				replaced = remember(t, dir, "server/key.pem", "server/cert.pem", "ssl.cfg")
				return nil
			},
		},
		resource.TestStep{ // another directory: the files move as they are
			Config:           tlsArguments(append(two, "directory = "+quote(moved))...),
			ConfigPlanChecks: expectAction(tlsAddr, plancheck.ResourceActionUpdate),
			Check: func(*terraform.State) error {
				soundTLS(t, moved)
				mustBeGone(t, dir)
				for file, content := range replaced {
					rel, err := filepath.Rel(dir, file)
					if err != nil || !bytes.Equal(content, mustRead(t, filepath.Join(moved, rel))) {
						t.Errorf("moving changed %s", rel)
					}
				}
				return nil
			},
		},
		resource.TestStep{
			ResourceName: tlsAddr, ImportState: true, ImportStateId: moved, ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"on_destroy"}, // what is imported is kept
		},
	)
	mustBeGone(t, moved)
}

func TestTLSMaterialsClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	third := `additional_client_names = ["batch.example.com", "web.example.com"]`
	var kept remembered
	accept(t,
		resource.TestStep{Config: tlsConfig(dir, third), Check: func(s *terraform.State) error {
			m := soundTLS(t, dir)
			if len(m.Leaves) != 4 {
				t.Errorf("%d leaves", len(m.Leaves))
			}
			kept = remember(t, dir, "clients/web.example.com/key.pem", "server/key.pem", "ssl.cfg", "client/cert.pem")
			return resource.TestCheckResourceAttr(tlsAddr, "additional_client_certificates_pem.batch.example.com",
				string(mustRead(t, tlsFile(dir, "clients/batch.example.com/cert.pem"))))(s)
		}},
		resource.TestStep{Config: tlsConfig(dir, third), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // one goes, its files too; another comes
			Config: tlsConfig(dir, `additional_client_names = ["new.example.com", "web.example.com"]`),
			Check: func(*terraform.State) error {
				soundTLS(t, dir)
				mustBeGone(t, tlsFile(dir, "clients/batch.example.com"))
				kept.expect(t, false)
				return nil
			},
		},
		resource.TestStep{ // one-way: nothing is left for clients; ssl.cfg is asked for
			Config: tlsArguments("directory = "+quote(dir), `server_names = ["grpc.tf-serving.service.com"]`, "ssl_config = true"),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("client_certificate_file"), knownvalue.Null()),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("client_certificate_pem"), knownvalue.Null()),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("additional_client_certificates_pem"), knownvalue.MapSizeExact(0)),
			},
			Check: func(*terraform.State) error {
				soundTLS(t, dir)
				mustBeGone(t, tlsFile(dir, "client"))
				mustBeGone(t, tlsFile(dir, "clients"))
				if !bytes.Contains(mustRead(t, tlsFile(dir, "ssl.cfg")), []byte("client_verify: false")) {
					t.Error("ssl.cfg still asks for client certificates")
				}
				return nil
			},
		},
	)
	soundTLS(t, dir) // kept by default
}

// TestTLSMaterialsForKeyServer makes what a key server needs: no client, no ssl.cfg, an address that old Gramine accepts.
func TestTLSMaterialsForKeyServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "attestation")
	config := tlsArguments("directory = "+quote(dir), `server_names = ["attestation.service.com", "localhost", "127.0.0.1"]`, `key_algorithm = "rsa-3072"`,
		"validity_period_hours = 48", "ca_validity_period_hours = 48", `on_destroy = "delete"`)
	accept(t,
		resource.TestStep{Config: config,
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ssl_config"), knownvalue.Bool(false)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ssl_config_file"), knownvalue.Null()),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("early_renewal_hours"), knownvalue.Int64Exact(16)),
			},
			Check: func(*terraform.State) error {
				c := soundTLS(t, dir).Leaf(tlsmaterials.ServerPlace).Certificate
				if got := strings.Join(c.DNSNames, " "); got != "attestation.service.com localhost 127.0.0.1" || len(c.IPAddresses) != 1 {
					t.Errorf("DNS names %s, addresses %v", got, c.IPAddresses)
				}
				mustBeGone(t, tlsFile(dir, "ssl.cfg"))
				return nil
			}},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
	mustBeGone(t, dir)
}

func TestTLSMaterialsNeverOverwrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, tlsFile(dir, "server/key.pem"), []byte("mine"), 0o600)
	accept(t,
		resource.TestStep{Config: tlsConfig(dir), ExpectError: says("Error: TLS materials exist already")},
		resource.TestStep{Config: tlsConfig(dir), ExpectError: says("file already exists: server/key.pem.")},
		resource.TestStep{Config: tlsConfig(dir), ExpectError: says("terraform import cc_tls_materials.NAME DIRECTORY")},
	)
	if string(mustRead(t, tlsFile(dir, "server/key.pem"))) != "mine" {
		t.Error("the file was overwritten")
	}
}

// TestTLSMaterialsDrift damages one file after the other and expects the plan to say so and the apply to repair it.
func TestTLSMaterialsDrift(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := tlsConfig(dir)
	steps := []resource.TestStep{{Config: config}}
	var authority remembered
	for _, tt := range []struct {
		name, want string
		damage     func()
		reissues   string
	}{
		{"certificate missing", "^server/cert.pem: missing$", func() { remove(t, tlsFile(dir, "server/cert.pem")) }, ""},
		{"authority's certificate changed", "^ca_cert.pem: changed: parse certificate: ", func() { mustWrite(t, tlsFile(dir, "ca_cert.pem"), []byte("x"), 0o644) }, ""},
		{"ssl.cfg missing", "^ssl.cfg: missing$", func() { remove(t, tlsFile(dir, "ssl.cfg")) }, ""},
		{"client key missing", "^client/key.pem: missing$", func() { remove(t, tlsFile(dir, "client/key.pem")) }, "client_certificate_pem"},
		{"server key changed", "^server/key.pem: changed: it is not the key of the certificate [0-9a-f]{64}$", func() {
			mustWrite(t, tlsFile(dir, "server/key.pem"), mustRead(t, tlsFile(dir, "client/key.pem")), 0o600)
		}, "server_certificate_pem"},
	} {
		checks := []plancheck.PlanCheck{
			plancheck.ExpectResourceAction(tlsAddr, plancheck.ResourceActionUpdate),
			expectBefore(tlsAddr, "problems", tt.want),
		}
		if tt.reissues != "" {
			checks = append(checks, plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute(tt.reissues)))
		} else {
			checks = append(checks, plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("server_certificate_pem"), knownvalue.NotNull()))
		}
		steps = append(steps, resource.TestStep{
			PreConfig: func() {
				authority = remember(t, dir, "ca_key.pem")
				tt.damage()
			},
			Config: config, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: checks},
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("problems"), knownvalue.ListSizeExact(0))},
			Check:             func(*terraform.State) error { soundTLS(t, dir); authority.expect(t, false); return nil },
		})
	}
	accept(t, append(steps, resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()})...)
}

// expectBefore checks an attribute as refresh left it, the first element if it is a list.
func expectBefore(addr, attribute, pattern string) plancheck.PlanCheck {
	return beforeCheck{addr, attribute, regexp.MustCompile(pattern)}
}

// TestTLSMaterialsElsewhere is the life of a state that machines without the files share.
func TestTLSMaterialsElsewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	away := dir + ".away"
	ignore := tlsConfig(dir, `on_missing = "ignore"`)
	accept(t,
		resource.TestStep{Config: tlsConfig(dir)},
		resource.TestStep{ // everything is gone: no new authority behind anybody's back
			PreConfig:   func() { rename(t, dir, away) },
			Config:      tlsConfig(dir),
			ExpectError: says("Error: Authority's private key missing"),
		},
		resource.TestStep{Config: tlsConfig(dir), ExpectError: says(`on_missing = "ignore" lets plans pass that issue nothing`)},
		resource.TestStep{Config: ignore}, // only the argument changes
		resource.TestStep{Config: ignore, ConfigPlanChecks: emptyPlan(), Check: func(*terraform.State) error { mustBeGone(t, dir); return nil }},
		resource.TestStep{ // something needs the key
			Config:      strings.Replace(ignore, "client.tf-serving", "new.tf-serving", 1),
			ExpectError: says("issue certificates in " + dir + ": the authority's private key is not at hand (the client needs a certificate: its names change)"),
		},
		resource.TestStep{Config: strings.Replace(ignore, quote(dir), quote(dir+"2"), 1), ExpectError: says("Error: TLS materials cannot be moved")},
		resource.TestStep{ // back: all is as it was
			PreConfig: func() { rename(t, away, dir) },
			Config:    ignore, ConfigPlanChecks: emptyPlan(), Check: func(*terraform.State) error { soundTLS(t, dir); return nil },
		},
		resource.TestStep{ // the authority's key is kept offline: that is nobody's business until it is needed
			PreConfig: func() { rename(t, tlsFile(dir, "ca_key.pem"), away) },
			Config:    tlsConfig(dir),
			Check:     func(*terraform.State) error { mustBeGone(t, tlsFile(dir, "ca_key.pem")); return nil },
		},
		resource.TestStep{Config: tlsConfig(dir), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			PreConfig:   func() { remove(t, tlsFile(dir, "server/key.pem")) },
			Config:      tlsConfig(dir),
			ExpectError: says("(the server needs a certificate: server/key.pem is missing)"),
		},
		resource.TestStep{
			PreConfig: func() { rename(t, away, tlsFile(dir, "ca_key.pem")) },
			Config:    tlsConfig(dir, `on_destroy = "delete"`),
			Check:     func(*terraform.State) error { soundTLS(t, dir); return nil },
		},
	)
	mustBeGone(t, dir)
}

// TestTLSMaterialsRenewal lets time pass.
func TestTLSMaterialsRenewal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var elapsed atomic.Int64
	start := time.Now()
	clock := provider.WithClock(func() time.Time { return start.Add(time.Duration(elapsed.Load())) })
	at := func(d time.Duration) func() { return func() { elapsed.Store(int64(d)) } }
	config := tlsConfig(dir, "validity_period_hours = 1000", "early_renewal_hours = 100")
	server := statecheck.CompareValue(compare.ValuesDiffer())
	sha := tlsAttribute("server_certificate_sha256")
	acceptWith(t, []provider.Option{clock},
		resource.TestStep{Config: config, ConfigStateChecks: []statecheck.StateCheck{server.AddStateValue(tlsAddr, sha)}},
		resource.TestStep{PreConfig: at(899 * time.Hour), Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			PreConfig: at(901 * time.Hour), Config: config,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(tlsAddr, plancheck.ResourceActionUpdate),
				expectBefore(tlsAddr, "ready_for_renewal", "^true$"),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ssl_config_file")),
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("ca_certificate_file"), knownvalue.NotNull()),
			}},
			ConfigStateChecks: []statecheck.StateCheck{
				server.AddStateValue(tlsAddr, sha),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ready_for_renewal"), knownvalue.Bool(false)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("not_after"), knownvalue.StringExact(start.Add(1901*time.Hour).UTC().Format(time.RFC3339))),
			},
		},
		resource.TestStep{PreConfig: at(902 * time.Hour), Config: config, ConfigPlanChecks: emptyPlan()},
	)
}

// TestTLSMaterialsRotation goes from one authority to the next, a stage with each apply.
func TestTLSMaterialsRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stage := func(name string) string { return tlsConfig(dir, "ca_rotation = "+quote(name)) }
	issuing := statecheck.CompareValue(compare.ValuesDiffer())
	server := statecheck.CompareValue(compare.ValuesDiffer())
	ca, leaf := tlsAttribute("ca_certificate_sha256"), tlsAttribute("server_certificate_sha256")
	sound := func(authorities int, keys ...string) func(*terraform.State) error {
		return func(*terraform.State) error {
			m := soundTLSWith(t, dir, keys...)
			if n := 1 + len(m.Trusted); n != authorities {
				t.Errorf("%d authorities, want %d", n, authorities)
			}
			return nil
		}
	}
	accept(t,
		resource.TestStep{Config: stage("use_next"), ExpectError: says("there is no authority yet to rotate from")},
		resource.TestStep{Config: tlsConfig(dir), ConfigStateChecks: []statecheck.StateCheck{
			issuing.AddStateValue(tlsAddr, ca), server.AddStateValue(tlsAddr, leaf),
			statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ca_rotation"), knownvalue.StringExact("none")),
		}},
		resource.TestStep{Config: stage("use_next"), ExpectError: says("Error: Rotation skips a stage")},
		resource.TestStep{
			Config: stage("trust_next"),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(tlsAddr, plancheck.ResourceActionUpdate),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ca_certificate_pem")),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ca_certificate_file")),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ssl_config_file")),
				plancheck.ExpectKnownValue(tlsAddr, ca, knownvalue.NotNull()),
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("server_certificate_pem"), knownvalue.NotNull()),
			}},
			Check: sound(2, "ca_next_key.pem", "ca_key.pem"),
		},
		resource.TestStep{Config: stage("trust_next"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			ResourceName: tlsAddr, ImportState: true, ImportStateId: dir, ImportStateVerify: true, Config: stage("trust_next"),
		},
		resource.TestStep{
			Config:            stage("use_next"),
			ConfigStateChecks: []statecheck.StateCheck{issuing.AddStateValue(tlsAddr, ca), server.AddStateValue(tlsAddr, leaf)},
			Check:             sound(2, "ca_previous_key.pem", "ca_key.pem"),
		},
		resource.TestStep{Config: stage("use_next"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: tlsConfig(dir), Check: sound(1, "ca_key.pem")},
		resource.TestStep{Config: tlsConfig(dir), ConfigPlanChecks: emptyPlan()},
	)
}

// issuerFiles makes an authority outside Terraform and returns the expressions of its parts.
func issuerFiles(t *testing.T, name string) (certificate, keyFile string, key []byte) {
	t.Helper()
	ca, err := tlsmaterials.NewAuthority(tlsmaterials.AuthorityRequest{CommonName: name, At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "ca.pem"), ca.CertificatePEM(), 0o644)
	mustWrite(t, filepath.Join(dir, "key.pem"), ca.Key.PEM(), 0o600)
	return "file(" + inDir(dir, "ca.pem") + ")", filepath.Join(dir, "key.pem"), ca.Key.PEM()
}

func TestTLSMaterialsIssuer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, keyFile, _ := issuerFiles(t, "Company CA")
	other, otherKey, _ := issuerFiles(t, "Other CA")
	given := func(certificate, keyFile string, arguments ...string) string {
		return tlsConfig(dir, append(arguments, fmt.Sprintf("issuer = { certificate_pem = %s, private_key_file = %s }", certificate, quote(keyFile)))...)
	}
	issuedBy := func(name string, keys ...string) func(*terraform.State) error {
		return func(*terraform.State) error {
			m := soundTLSWith(t, dir, keys...)
			if got := m.Leaf(tlsmaterials.ServerPlace).Certificate.Issuer.CommonName; got != name {
				t.Errorf("issued by %q, want %q", got, name)
			}
			return nil
		}
	}
	accept(t,
		resource.TestStep{Config: given(certificate, otherKey), ExpectError: says("the given private key does not belong to the given authority, CN=Company CA")},
		resource.TestStep{Config: given(certificate, keyFile), Check: issuedBy("Company CA")},
		resource.TestStep{Config: given(certificate, keyFile), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // the key is needed for issuing only
			PreConfig: func() { rename(t, keyFile, keyFile+".away") },
			Config:    given(certificate, keyFile), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{
			Config:      given(certificate, keyFile, `additional_client_names = ["batch.example.com"]`),
			ExpectError: says("Error: Given authority not usable"),
		},
		resource.TestStep{
			PreConfig: func() { rename(t, keyFile+".away", keyFile) },
			Config:    given(certificate, keyFile, `additional_client_names = ["batch.example.com"]`), Check: issuedBy("Company CA"),
		},
		resource.TestStep{Config: given(other, otherKey), Check: issuedBy("Other CA")},
		resource.TestStep{Config: given(other, otherKey, `ca_rotation = "trust_next"`), ExpectError: says("the rotation of a given authority is not this set's")},
		resource.TestStep{Config: tlsConfig(dir), Check: func(*terraform.State) error {
			if m := soundTLSWith(t, dir, "ca_key.pem"); !strings.HasPrefix(m.Authority.Certificate.Subject.CommonName, "Confidential serving CA") {
				t.Errorf("issued by %s", m.Authority.Certificate.Subject)
			}
			return nil
		}},
		resource.TestStep{Config: tlsConfig(dir), ConfigPlanChecks: emptyPlan()},
	)
}

// TestTLSMaterialsIssuerWriteOnly gives the authority's key as an ephemeral value.
func TestTLSMaterialsIssuerWriteOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, _, key := issuerFiles(t, "Company CA")
	config := func(name, version string) string {
		return fmt.Sprintf(`
variable "ca_key" {
  type      = string
  ephemeral = true
  default   = %s
}
`, quote(string(key))) + tlsArguments("directory = "+quote(dir), "server_names = ["+quote(name)+"]",
			"issuer = { certificate_pem = "+certificate+", private_key_wo = var.ca_key"+version+" }")
	}
	var before remembered
	issuedAgain := func(again bool) func(*terraform.State) error {
		return func(*terraform.State) error {
			soundTLSWith(t, dir)
			before.expect(t, again)
			before = remember(t, dir, "server/cert.pem")
			return nil
		}
	}
	null := statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("issuer").AtMapKey("private_key_wo"), knownvalue.Null())
	accept(t,
		resource.TestStep{Config: config("a.example.com", ""), ConfigStateChecks: []statecheck.StateCheck{null}},
		resource.TestStep{Config: config("a.example.com", ""), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config("b.example.com", ", private_key_wo_version = 1"), ConfigStateChecks: []statecheck.StateCheck{null}, Check: issuedAgain(true)},
		resource.TestStep{Config: config("b.example.com", ", private_key_wo_version = 1"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config("b.example.com", ", private_key_wo_version = 2"), ConfigStateChecks: []statecheck.StateCheck{null}, Check: issuedAgain(true),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("server_certificate_pem"))}}},
		resource.TestStep{Config: config("b.example.com", ", private_key_wo_version = 2"), ConfigPlanChecks: emptyPlan(), Check: issuedAgain(false)},
	)
}

func TestTLSMaterialsImportThenEmptyPlan(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	_, err := deploy.CreateTLSMaterials(deploy.TLSSpec{
		Directory: dir, ServerNames: []string{"grpc.tf-serving.service.com"}, ClientName: "client.tf-serving.service.com",
		FurtherClients: []string{"batch.example.com"}, SSLConfig: true,
	}, time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	config := tlsConfig(dir, `additional_client_names = ["batch.example.com"]`)
	before := remember(t, dir, "ca_key.pem", "server/key.pem", "clients/batch.example.com/key.pem", "ssl.cfg")
	accept(t,
		resource.TestStep{Config: config, ResourceName: tlsAddr, ImportState: true, ImportStateId: dir, ImportStatePersist: true},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
	before.expect(t, false)
}

// TestTLSMaterialsImportFromTutorial adopts what the tutorial's script made and puts it right under the same authority.
func TestTLSMaterialsImportFromTutorial(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ssl_configure")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "serving", "tlsmaterials", "testdata", "tutorial"))); err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	config := tlsConfig(dir)
	authority := remember(t, dir, "ca_key.pem", "ca_cert.pem")
	acceptWith(t, []provider.Option{provider.WithClock(func() time.Time { return made })},
		resource.TestStep{Config: config, ResourceName: tlsAddr, ImportState: true, ImportStateId: dir, ImportStatePersist: true},
		resource.TestStep{
			Config: config, ConfigPlanChecks: expectAction(tlsAddr, plancheck.ResourceActionUpdate),
			Check: func(*terraform.State) error {
				authority.expect(t, false)
				m, findings, err := deploy.ReadTLSMaterials(dir)
				if err != nil {
					return err
				}
				if findings = append(findings, m.Check(made)...); len(findings) > 0 {
					t.Errorf("findings: %v", findings)
				}
				return nil
			},
		},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
}

func TestTLSMaterialsRejects(t *testing.T) {
	t.Parallel()
	base := func(arguments ...string) string {
		return tlsArguments(append([]string{`directory = "d"`}, arguments...)...)
	}
	names := `server_names = ["a.example.com"]`
	rejects(t, []rejection{
		{"no names", base(`server_names = []`), "list must contain at least 1 elements"},
		{"name twice", base(`server_names = ["a.b", "a.b"]`), "duplicate values"},
		{"name with port", base(`server_names = ["a.example.com:4433"]`), `server name "a.example.com:4433": give the host alone, without port`},
		{"capitals", base(`server_names = ["A.example.com"]`), "value must be a DNS name in lower case, a wildcard for one label, or an IP address"},
		{"client wildcard", base(names, `client_name = "*.example.com"`), "a wildcard does not tell clients apart"},
		{"further client", base(names, `additional_client_names = ["../x"]`), "give the host alone, without path"},
		{"client twice", base(names, `client_name = "c"`, `additional_client_names = ["c"]`), `client name "c" is given twice`},
		{"algorithm", base(names, `key_algorithm = "ed25519"`), `value must be one of "ecdsa-p256", "rsa-3072", "rsa-4096", got: ed25519`},
		{"validity", base(names, `validity_period_hours = 0`), "must be between 1 and 175200, got: 0"},
		{"outlives", base(names, `ca_validity_period_hours = 24`), "certificates valid for 8760h would outlive their authority, which is valid for 24h"},
		{"renewal", base(names, `validity_period_hours = 24`, `early_renewal_hours = 24`), "certificates valid for 24h cannot be renewed 24h before they end"},
		{"rotation", base(names, `ca_rotation = "next"`), `value must be one of "none", "trust_next", "use_next", got: next`},
		{"issuer", base(names, `issuer = { certificate_pem = "x" }`), "read issuer.certificate_pem: parse certificate: PEM block 1: found other text"},
		{"issuer's keys", base(names, `issuer = { certificate_pem = "x", private_key_file = "k", private_key_wo = "k" }`), "cannot be specified when"},
		{"directory", tlsArguments(`directory = ""`, names), "value must be the path of a directory"},
		{"on_missing", base(names, `on_missing = "error"`), `value must be one of "recreate", "ignore", got: error`},
		{"state", base(names, `server_certificate_pem = "x"`), "Cannot set value for this attribute"},
	})
	dir := t.TempDir()
	mustWrite(t, tlsFile(dir, "server/key.pem"), []byte("x"), 0o600)
	for name, want := range map[string]string{
		filepath.Join(dir, "none"): "none: no such file or directory.",
		dir:                        "ca_cert.pem: missing: the file is missing.",
	} {
		accept(t, resource.TestStep{
			ResourceName: tlsAddr, ImportState: true, ImportStateId: name, Config: tlsConfig(dir), ExpectError: says(want),
		})
	}
}

// TestTLSMaterialsUnknown plans with values that only apply knows, for creation and for a change.
func TestTLSMaterialsUnknown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := func(value string) string {
		return fmt.Sprintf(`
resource "terraform_data" "input" { input = %s }
resource "cc_tls_materials" "serving" {
  directory    = %s
  server_names = [terraform_data.input.output]
  client_name  = terraform_data.input.output
}
`, quote(value), quote(dir))
	}
	unknown := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
		plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("client_key_file")), plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("ssl_config")),
		plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("server_certificate_pem")),
	}}
	accept(t,
		resource.TestStep{Config: config("a.example.com"), ConfigPlanChecks: unknown},
		resource.TestStep{Config: config("a.example.com"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config("b.example.com"), ConfigPlanChecks: unknown, Check: func(*terraform.State) error {
			if names := tlsmaterials.CertifiedNames(soundTLS(t, dir).Leaf(tlsmaterials.ServerPlace).Certificate); names[0] != "b.example.com" {
				t.Errorf("names %v", names)
			}
			return nil
		}},
		resource.TestStep{Config: config("b.example.com"), ConfigPlanChecks: emptyPlan()},
	)
}

// TestTLSMaterialsReachWhatUsesThem renews a certificate and expects that the encrypted ssl.cfg follows in the same apply.
func TestTLSMaterialsReachWhatUsesThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := func(name string) string {
		return fmt.Sprintf(`
resource "cc_wrap_key" "k" {
  file = %s
}
resource "cc_tls_materials" "serving" {
  directory    = %s
  server_names = [%q]
  ssl_config   = true
}
resource "cc_encrypted_file" "config" {
  source        = cc_tls_materials.serving.ssl_config_file
  destination   = %s
  enclave_path  = "ssl.cfg"
  wrap_key_file = cc_wrap_key.k.file
}
`, inDir(dir, "key"), inDir(dir, "tls"), name, inDir(dir, "encrypted"))
	}
	var before remembered
	accept(t,
		resource.TestStep{Config: config("a.example.com"), Check: func(*terraform.State) error { before = remember(t, dir, "encrypted"); return nil }},
		resource.TestStep{Config: config("a.example.com"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config("b.example.com"), Check: func(*terraform.State) error { before.expect(t, true); return nil }},
		resource.TestStep{Config: config("b.example.com"), ConfigPlanChecks: emptyPlan()},
	)
}

func TestTLSMaterialsCanary(t *testing.T) {
	t.Parallel()
	canary{
		Config:  tlsConfig("planted-directory", `additional_client_names = ["batch.example.com"]`, `on_destroy = "delete"`),
		Planted: "planted-directory",
		Secrets: func(t *testing.T, dir string) map[string][]byte {
			secrets := map[string][]byte{}
			for _, file := range []string{"ca_key.pem", "server/key.pem", "client/key.pem", "clients/batch.example.com/key.pem"} {
				addKeySecrets(t, secrets, file, mustRead(t, tlsFile(filepath.Join(dir, "planted-directory"), file)))
			}
			return secrets
		},
	}.hunt(t)
}

func TestTLSMaterialsCanaryRSA(t *testing.T) {
	t.Parallel()
	canary{
		Config:  tlsArguments(`directory = "planted-directory"`, `server_names = ["a.example.com"]`, `key_algorithm = "rsa-3072"`, `ssl_config = true`, `on_destroy = "delete"`),
		Planted: "planted-directory",
		Secrets: func(t *testing.T, dir string) map[string][]byte {
			secrets := map[string][]byte{}
			addKeySecrets(t, secrets, "server", mustRead(t, filepath.Join(dir, "planted-directory", "server", "key.pem")))
			return secrets
		},
	}.hunt(t)
}

// TestTLSMaterialsCanaryIssuer looks for the key of a given authority, which comes from a variable on the command line of
// nobody: Terraform reads it from the environment.
func TestTLSMaterialsCanaryIssuer(t *testing.T) {
	t.Parallel()
	certificate, _, key := issuerFiles(t, "Company CA")
	canary{
		Env: []string{"TF_VAR_ca_key=" + string(key)},
		Config: "variable \"ca_key\" {\n  type      = string\n  ephemeral = true\n}\n" +
			tlsArguments(`directory = "planted-directory"`, `server_names = ["a.example.com"]`, "issuer = { certificate_pem = "+certificate+", private_key_wo = var.ca_key }", `on_destroy = "delete"`),
		Planted: "planted-directory",
		Secrets: func(t *testing.T, _ string) map[string][]byte {
			secrets := map[string][]byte{}
			addKeySecrets(t, secrets, "authority", key)
			return secrets
		},
	}.hunt(t)
}

// addKeySecrets adds a private key as it is written and as the numbers it consists of.
func addKeySecrets(t *testing.T, secrets map[string][]byte, name string, pem []byte) {
	t.Helper()
	key, err := tlsmaterials.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	// Some lines of the PEM hold nothing but the public half, and may come to lie alike in the certificate's.
	lines := strings.Split(string(pem), "\n")
	switch signer := key.Signer().(type) {
	case *ecdsa.PrivateKey:
		scalar, err := signer.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		secrets[name+" scalar"] = scalar
		secrets[name+" in PEM"] = []byte(strings.Join(lines[1:3], "\n"))
	case *rsa.PrivateKey:
		secrets[name+" in PEM"] = []byte(strings.Join(lines[len(lines)/2:], "\n"))
		secrets[name+" exponent"] = signer.D.Bytes()
		secrets[name+" prime"] = signer.Primes[0].Bytes()
		secrets[name+" prime in decimal"] = []byte(signer.Primes[0].String())
	default:
		t.Fatalf("%T", signer)
	}
}

// TestTLSMaterialsWarnings reads what Terraform prints: plugin-testing does not show warnings.
func TestTLSMaterialsWarnings(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, tlsConfig("tls"))
	dir := filepath.Join(w.dir, "tls")
	w.terraform("apply", "-auto-approve")
	if err := os.Chmod(tlsFile(dir, "server/key.pem"), 0o640); err != nil {
		t.Fatal(err)
	}
	expectOutput(t, w.terraform("plan"), "Warning: Private keys open to others", "others than their owner may read or replace server/key.pem", "No changes.")
	if err := os.Chmod(tlsFile(dir, "server/key.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := mustRead(t, tlsFile(dir, "ca_key.pem"))
	mustWrite(t, tlsFile(dir, "ca_key.pem"), []byte("x"), 0o600)
	expectOutput(t, w.terraform("plan"), "Warning: TLS materials not usable", "Could not use ca_key.pem in tls: it is changed: parse private key", "No changes.")
	mustWrite(t, tlsFile(dir, "ca_key.pem"), key, 0o600)
	remove(t, tlsFile(dir, "client/key.pem"))
	expectOutput(t, w.terraform("plan"), `"client/key.pem: missing"`, "1 to change")
	expectOutput(t, w.terraform("destroy", "-auto-approve"), "Warning: TLS materials kept", "stay in tls")
}

// TestTLSMaterialsReplace asks for a new authority with -replace.
func TestTLSMaterialsReplace(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, tlsConfig("tls", `on_destroy = "delete"`))
	w.terraform("apply", "-auto-approve")
	old := remember(t, filepath.Join(w.dir, "tls"), "ca_cert.pem", "ca_key.pem", "ssl.cfg")
	// The path of a file that is there, with content that will change, must not pass for known.
	output := w.terraform("apply", "-auto-approve", "-replace="+tlsAddr)
	if !regexp.MustCompile(`ssl_config_file\s+= "tls/ssl.cfg" -> \(known after apply\)`).MatchString(output) {
		t.Errorf("output:\n%s", output)
	}
	old.expect(t, true)
	soundTLS(t, filepath.Join(w.dir, "tls"))
	expectOutput(t, w.terraform("plan"), "No changes.")

	// On destroy, what is not ours stays.
	foreign := tlsFile(filepath.Join(w.dir, "tls"), "client/key.pem")
	mustWrite(t, foreign, []byte("mine"), 0o600)
	expectOutput(t, w.terraform("destroy", "-auto-approve", "-refresh=false"), "Warning: Files left alone", "client/key.pem")
	if string(mustRead(t, foreign)) != "mine" {
		t.Error("a foreign file was deleted")
	}
	mustBeGone(t, tlsFile(filepath.Join(w.dir, "tls"), "server"))
}

// beforeCheck implements expectBefore.
type beforeCheck struct {
	addr, attribute string
	pattern         *regexp.Regexp
}

func (c beforeCheck) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, rc := range req.Plan.ResourceChanges {
		before, ok := rc.Change.Before.(map[string]any)
		if rc.Address != c.addr || !ok {
			continue
		}
		value := before[c.attribute]
		if list, ok := value.([]any); ok && len(list) > 0 {
			value = list[0]
		}
		if !c.pattern.MatchString(fmt.Sprint(value)) {
			resp.Error = fmt.Errorf("%s.%s is %v before the change, want %s", c.addr, c.attribute, before[c.attribute], c.pattern)
		}
		return
	}
	resp.Error = fmt.Errorf("%s is not in the plan", c.addr)
}
