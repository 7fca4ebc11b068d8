//go:build unix

package resources_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// everySecret is a configuration with all resources of the provider in which
// each argument that takes a secret has one of its own. It is read from a file,
// by file("..."), so that no environment and no command line of the test's own
// has it.
type everySecret struct {
	t     *testing.T
	dir   string // of the files
	given map[string][]byte
	place secretPlaces
	local string // the part of the configuration that starts no process and reaches no machine
}

// secretPlaces is what the configuration needs of the world around it.
type secretPlaces struct {
	vpc, vswitch, group, cloud string // of a simulated region; cloud is its address
	ccctl                      string
	listen                     string        // of the container
	world                      string        // directory of what stands for other machines
	machine, jump              testhost.SSHD // zero without SSH and Docker
	key                        temporaryKey  // of STS
	container                  string        // name
	issuer                     *tlsmaterials.KeyPair
}

// secret puts a secret into a file and returns the expression that reads it.
// The attribute is named as in the provider's schema: its kind, its type and
// its path.
func (s *everySecret) secret(attribute string, value []byte) string {
	s.given[attribute] = value
	name := filepath.Join(s.dir, strings.ReplaceAll(attribute, " ", "-"))
	mustWrite(s.t, name, value, 0o600)
	return "file(" + quote(name) + ")"
}

// sshKey is a new key of SSH as a secret. Machines let it in if they are given.
func (s *everySecret) sshKey(attribute string, machine testhost.SSHD) string {
	s.t.Helper()
	name := filepath.Join(s.dir, "ssh")
	public := testhost.NewKey(s.t, name)
	key := mustRead(s.t, name)
	raw, err := ssh.ParseRawPrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		s.t.Fatalf("the key is a %T", raw)
	}
	s.given["seed of "+attribute] = private.Seed()
	if machine.KeyFile != "" {
		list := filepath.Join(filepath.Dir(machine.KeyFile), "authorized")
		mustWrite(s.t, list, append(mustRead(s.t, list), public+"\n"...), 0o600)
	}
	return s.secret(attribute, key)
}

// ssh is a machine whose keys, for itself and for the host in between, come
// from the given expressions.
func (s *everySecret) ssh(own, jump string) string {
	access := func(m testhost.SSHD, key string) string {
		return fmt.Sprintf("address = %s, user = %s, host_keys = [%s], private_key_wo = %s, private_key_wo_version = 1",
			quote(m.Address), quote(m.User), quote(m.HostKey), key)
	}
	return fmt.Sprintf("{ ssh = { %s, jump = { %s } } }", access(s.place.machine, own), access(s.place.jump, jump))
}

// provider is a provider block with the simulated region's credentials, or
// with wrong ones under an alias.
func (s *everySecret) provider(alias string, key temporaryKey) string {
	id := func(attribute string) string {
		return strings.TrimPrefix(alias+" provider cc "+attribute, " ")
	}
	text := fmt.Sprintf(`
provider "cc" {
  region         = "cn-beijing"
  access_key     = %s
  secret_key     = %s
  security_token = %s
`, s.secret(id("access_key"), []byte(key.AccessKeyId)), s.secret(id("secret_key"), []byte(key.AccessKeySecret)), s.secret(id("security_token"), []byte(key.SecurityToken)))
	if alias != "" {
		text += fmt.Sprintf("  alias = %q\n", alias)
	}
	return text + fmt.Sprintf("  endpoints {\n    ecs = %[1]q\n    vpc = %[1]q\n    sts = %[1]q\n  }\n}\n", s.place.cloud)
}

// config has every resource, the ephemeral resource and the data sources that
// see secrets.
func (s *everySecret) config() string {
	p := s.place
	password := "Cy7-" + rand.Text()[:20]
	kept := newKey(s.t)
	keyFile := filepath.Join(s.dir, "kept.key")
	mustWrite(s.t, keyFile, kept[:], 0o600)
	s.given["ephemeral cc_wrap_key hex"] = kept[:]
	addKeySecrets(s.t, s.given, "issuer", p.issuer.Key.PEM())
	text := s.provider("", p.key) + fmt.Sprintf(`
resource "cc_security_group" "client" {
  vpc_id           = %q
  name             = "planted-group"
  key_server_cidrs = ["203.0.113.9/32"]
}
resource "cc_client_instance" "client" {
  vswitch_id          = %q
  security_group_ids  = [cc_security_group.client.id]
  name                = "planted-machine"
  bootstrap           = false
  password_wo         = %s
  password_wo_version = 1
}
ephemeral "cc_wrap_key" "kept" {
  file = %s
}
resource "cc_wrap_key" "made" {
  file       = "planted/wrap-key"
  on_destroy = "delete"
}
resource "cc_saved_model" "model" {
  source     = %s
  export_dir = "planted/models"
}
resource "cc_tls_materials" "serving" {
  directory    = "planted/serving"
  server_names = ["grpc.tf-serving.service.com"]
  client_name  = "client.tf-serving.service.com"
  issuer       = { certificate_pem = %s, private_key_wo = %s }
  on_destroy   = "delete"
}
resource "cc_tls_materials" "sealed" {
  directory            = "planted/sealed"
  server_names         = ["grpc.tf-serving.service.com"]
  encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_wo = %s, wrap_key_wo_version = 1 }
  on_destroy           = "delete"
}
resource "cc_tls_materials" "attestation" {
  directory    = "planted/attestation"
  server_names = ["localhost", "127.0.0.1"]
  on_destroy   = "delete"
}
resource "cc_encrypted_file" "model" {
  source              = cc_saved_model.model.saved_model_file
  destination         = "planted/upload/models/1/saved_model.pb"
  enclave_path        = "models/1/saved_model.pb"
  wrap_key_wo         = ephemeral.cc_wrap_key.kept.hex
  wrap_key_wo_version = 1
  verify              = "full"
}
resource "cc_encrypted_file" "ssl_config" {
  source        = cc_tls_materials.serving.ssl_config_file
  destination   = "planted/upload/ssl.cfg"
  enclave_path  = "ssl.cfg"
  wrap_key_file = cc_wrap_key.made.file
}
resource "cc_encrypted_file" "given" {
  source              = cc_saved_model.model.saved_model_file
  destination         = "planted/given.pf"
  enclave_path        = "given"
  wrap_key_wo         = %s
  wrap_key_wo_version = 1
}
data "cc_protected_file" "ssl_config" {
  file          = cc_encrypted_file.ssl_config.destination
  wrap_key_file = cc_wrap_key.made.file
  verify        = "full"
}
`, p.vpc, p.vswitch, s.secret("resource cc_client_instance password_wo", []byte(password)), quote(keyFile), quote(quoteless(s.t)+"/digits.pb"),
		quote(string(p.issuer.CertificatePEM())), s.secret("resource cc_tls_materials issuer.private_key_wo", p.issuer.Key.PEM()),
		s.hexKey("resource cc_tls_materials encrypted_ssl_config.wrap_key_wo"), s.hexKey("resource cc_encrypted_file wrap_key_wo"))
	s.local = text
	text += s.keyServer("process", "{ local = {} }", `"planted/key-server"`, "127.0.0.1:0", "")
	machines := s.keyServer("container", s.ssh(s.sshKey("resource cc_key_server host.ssh.private_key_wo", p.machine), s.sshKey("resource cc_key_server host.ssh.jump.private_key_wo", p.jump)),
		quote(filepath.Join(p.world, "planted-key-server")), p.listen, "container_name = "+quote(p.container)) + fmt.Sprintf(`
resource "cc_artifact_upload" "serving" {
  host      = %s
  directory = %s
  files = {
    "models/1/saved_model.pb" = cc_encrypted_file.model.destination
    "ssl.cfg"                 = cc_encrypted_file.ssl_config.destination
  }
}
`, s.ssh(s.sshKey("resource cc_artifact_upload host.ssh.private_key_wo", p.machine), s.sshKey("resource cc_artifact_upload host.ssh.jump.private_key_wo", p.jump)),
		quote(filepath.Join(p.world, "planted-serving")))
	if p.machine.Address == "" {
		return text
	}
	return text + machines
}

// hexKey is a wrap key in hex digits, as arguments take it.
func (s *everySecret) hexKey(attribute string) string {
	key := newKey(s.t)
	expression := s.secret(attribute, []byte(hex.EncodeToString(key[:])))
	s.given["bytes of "+attribute] = key[:]
	return expression
}

func (s *everySecret) keyServer(runtime, host, directory, listen, further string) string {
	name := runtime
	if runtime == "container" {
		runtime = "docker"
	}
	return fmt.Sprintf(`
resource "cc_key_server" %q {
  host       = %s
  runtime    = %q
  directory  = %s
  ccctl_path = %s
  listen     = %q
  %s
  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }
  collateral         = { bundle = %s }
  allow_trusted_root = %s
  secrets            = [{ name = "model", file = cc_wrap_key.made.file }]
  rules = [{
    name       = "planted-rule"
    mr_enclave = [%q]
    tcb        = { accept = ["UpToDate"] }
    secret     = "model"
  }]
}
`, name, host, runtime, directory, quote(s.place.ccctl), listen, further, quote(filepath.Join(s.dir, "collateral.json")), quote(filepath.Join(s.dir, "root.pem")), strings.Repeat("7d", 32))
}

// malformedSecret has the form of no secret.
func (s *everySecret) malformedSecret(what string) string {
	return s.secret("malformed "+what, []byte("zz-"+rand.Text()))
}

// refused is a configuration that is not valid: a data source would keep its
// secrets, and others are malformed.
func (s *everySecret) refused() string {
	if s.place.machine.Address == "" {
		s.place.machine = testhost.SSHD{Address: "127.0.0.1:1", User: "root", HostKey: "x"}
		defer func() { s.place.machine = testhost.SSHD{} }()
	}
	return fmt.Sprintf(`
data "cc_key_server_status" "test" {
  host = %s
}
resource "cc_tls_materials" "malformed" {
  directory    = "planted/malformed"
  server_names = ["a.example.com"]
  issuer       = { certificate_pem = %s, private_key_wo = %s }
}
resource "cc_tls_materials" "malformed_wrap_key" {
  directory            = "planted/malformed"
  server_names         = ["a.example.com"]
  encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_wo = %s, wrap_key_wo_version = 1 }
}
`, s.ssh(s.sshKey("data cc_key_server_status host.ssh.private_key_wo", testhost.SSHD{}), s.sshKey("data cc_key_server_status host.ssh.jump.private_key_wo", testhost.SSHD{})),
		quote(string(s.place.issuer.CertificatePEM())), s.malformedSecret("issuer"), s.malformedSecret("wrap key of ssl.cfg"))
}

// malformed is a configuration that cannot be planned, because no secret in it
// has its form.
func (s *everySecret) malformed() string {
	file := filepath.Join(s.dir, "malformed.key")
	s.given["malformed ephemeral"] = []byte(rand.Text()[:17])
	mustWrite(s.t, file, s.given["malformed ephemeral"], 0o600)
	return fmt.Sprintf(`
ephemeral "cc_wrap_key" "malformed" {
  file = %s
}
resource "cc_encrypted_file" "malformed" {
  source              = %s
  destination         = "planted/malformed.pf"
  enclave_path        = "malformed"
  wrap_key_wo         = %s
  wrap_key_wo_version = 1
}
`, quote(file), quote(quoteless(s.t)+"/digits.pb"), s.malformedSecret("wrap key"))
}

// wrong is a configuration that cannot be applied, because no secret in it is
// right.
func (s *everySecret) wrong() string {
	p := s.place
	key := temporaryKey{AccessKeyId: p.key.AccessKeyId, AccessKeySecret: "wrong+/" + rand.Text(), SecurityToken: p.key.SecurityToken}
	text := s.provider("", p.key) + s.provider("wrong", key) + fmt.Sprintf(`
resource "cc_security_group" "wrong" {
  provider = cc.wrong
  vpc_id   = %q
}
resource "cc_client_instance" "wrong" {
  vswitch_id          = %q
  security_group_ids  = [%q]
  bootstrap           = false
  password_wo         = %s
  password_wo_version = 1
}
resource "cc_encrypted_file" "wrong" {
  source              = "planted/missing"
  destination         = "planted/missing.pf"
  enclave_path        = "missing"
  wrap_key_wo         = %s
  wrap_key_wo_version = 1
}
`, p.vpc, p.vswitch, p.group, s.secret("wrong password", []byte("lower/case+"+lower(rand.Text()[:15]))), s.hexKey("wrap key of a missing file"))
	upload := func(name, own, jump string) string {
		return fmt.Sprintf("resource \"cc_artifact_upload\" %q {\n  host      = %s\n  directory = %s\n  files     = { \"f\" = %s }\n}\n",
			name, s.ssh(own, jump), quote(filepath.Join(p.world, name)), quote(filepath.Join(s.dir, "protected")))
	}
	if p.machine.Address == "" {
		return text
	}
	return text + upload("stranger", s.sshKey("stranger's SSH key", testhost.SSHD{}), s.sshKey("stranger's jump key", p.jump)) +
		upload("malformed", s.secret("malformed SSH key", []byte("zz-"+rand.Text())), s.sshKey("jump key beside a malformed one", p.jump))
}

// lower is a text without digits and capitals, which is no password.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 'A' {
			return r - '0' + 'k'
		}
		return r - 'A' + 'a'
	}, text)
}

func newEverySecret(t *testing.T) *everySecret {
	t.Helper()
	issuer, err := tlsmaterials.NewAuthority(tlsmaterials.AuthorityRequest{CommonName: "Company CA", At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s := &everySecret{t: t, dir: t.TempDir(), given: map[string][]byte{}}
	s.place.issuer = issuer
	return s
}

// TestEverySecretArgumentHasACanary counts the attributes of the provider's
// schemas that are sensitive or write-only, and fails when TestNoSecretIsSeen
// does not cover one.
func TestEverySecretArgumentHasACanary(t *testing.T) {
	t.Parallel()
	s := newEverySecret(t)
	s.place.machine = testhost.SSHD{Address: "192.0.2.1:22", User: "root", HostKey: "x"}
	config := s.config() + s.refused()

	server, err := providerserver.NewProtocol6WithError(provider.New("test")())()
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	secret := map[string]bool{}
	collect := func(kind string, types map[string]*tfprotov6.Schema) {
		for name, schema := range types {
			secretAttributes(kind+" "+name+" ", schema.Block, secret)
		}
	}
	collect("resource", schemas.ResourceSchemas)
	collect("data", schemas.DataSourceSchemas)
	collect("ephemeral", schemas.EphemeralResourceSchemas)
	collect("provider", map[string]*tfprotov6.Schema{"cc": schemas.Provider})
	if len(secret) < 12 {
		t.Fatalf("only %d attributes are found: %v", len(secret), slices.Sorted(maps.Keys(secret)))
	}
	t.Logf("%d attributes: %v", len(secret), slices.Sorted(maps.Keys(secret)))
	for attribute := range secret {
		if s.given[attribute] == nil {
			t.Errorf("%s is secret, and TestNoSecretIsSeen gives it no canary: add it to everySecret.config", attribute)
			continue
		}
		if strings.HasPrefix(attribute, "ephemeral ") {
			continue // an output
		}
		name := attribute[strings.LastIndexAny(attribute, " .")+1:]
		use := regexp.MustCompile(`\b` + name + `\s*= ` + regexp.QuoteMeta("file("+quote(filepath.Join(s.dir, strings.ReplaceAll(attribute, " ", "-")))+")"))
		if !use.MatchString(config) {
			t.Errorf("%s has a canary that the configuration does not use", attribute)
		}
	}
	for attribute := range s.given {
		kind, _, _ := strings.Cut(attribute, " ")
		if slices.Contains([]string{"resource", "data", "ephemeral", "provider"}, kind) && !secret[attribute] && attribute != "provider cc access_key" {
			t.Errorf("%s has a canary, and is no secret by its schema", attribute)
		}
	}
	for name := range schemas.ResourceSchemas {
		if !strings.Contains(config, fmt.Sprintf("resource %q", name)) {
			t.Errorf("the configuration has no %s", name)
		}
	}
}

// secretAttributes adds what is sensitive or write-only, at any depth.
func secretAttributes(at string, block *tfprotov6.SchemaBlock, found map[string]bool) {
	var walk func(at string, attributes []*tfprotov6.SchemaAttribute)
	walk = func(at string, attributes []*tfprotov6.SchemaAttribute) {
		for _, a := range attributes {
			if a.Sensitive || a.WriteOnly {
				found[at+a.Name] = true
			}
			if a.NestedType != nil {
				walk(at+a.Name+".", a.NestedType.Attributes)
			}
		}
	}
	walk(at, block.Attributes)
	for _, nested := range block.BlockTypes {
		secretAttributes(at+nested.TypeName+".", nested.Block, found)
	}
}

// TestNoSecretIsSeen applies all resources with a canary in every argument that
// takes a secret, with applies before it that fail and a provider that crashes,
// and looks for the canaries, and for the keys that the apply has made, in
// everything that Terraform keeps and prints and that other users of the
// machine can see.
func TestNoSecretIsSeen(t *testing.T) {
	t.Parallel()
	began := time.Now()
	step := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }
	s := newEverySecret(t)
	c := newCloud(t, ecssim.Options{})
	p := &s.place
	p.vpc, p.vswitch, p.cloud, p.key, p.ccctl = c.vpc, c.vswitch, c.url, c.temporaryKey(), ccctlPath(t)
	p.group = c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
	p.container, p.world = "cc-test-"+strings.ToLower(rand.Text()[:8]), t.TempDir()
	platform, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	collateral, err := platform.CollateralFile(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(s.dir, "collateral.json"), collateral, 0o600)
	mustWrite(t, filepath.Join(s.dir, "root.pem"), platform.RootPEM(), 0o600)
	mustWrite(t, filepath.Join(s.dir, "plain"), []byte("weights"), 0o600)
	if _, err := deploy.EncryptFile(t.Context(), deploy.EncryptSpec{
		Source: filepath.Join(s.dir, "plain"), Destination: filepath.Join(s.dir, "protected"), EnclavePath: "f", Key: newKey(t),
	}); err != nil {
		t.Fatal(err)
	}
	if machinesWanted() {
		p.machine, p.jump = *testhost.StartSSHD(t, "DOCKER_HOST="+testhost.DockerHost(t)), *testhost.StartSSHD(t)
		p.listen = testhost.FreeAddress(t)
	} else {
		t.Log("without SSH and Docker here, machines are left out")
	}
	main := s.config()
	agent := s.agent() // before there are keys that it should not have
	step("started the machines")

	w := newWorkspace(t, "")
	w.env = []string{"DEBUG=sdk", "SSH_AUTH_SOCK="}
	write := func(config string) {
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+config), 0o600)
	}
	watch := watchProcesses(t)
	fails := func(config, command string, want ...string) {
		t.Helper()
		write(config)
		_, stderr, err := w.try(command, map[string]string{"apply": "-auto-approve", "plan": "-refresh=true"}[command])
		if err == nil {
			t.Errorf("the %s succeeded", command)
		}
		for _, text := range want {
			if !says(text).MatchString(stderr) {
				t.Errorf("%q is not in:\n%s", text, stderr)
			}
		}
		step("a " + command + " failed")
	}
	fails(s.refused(), "plan", "Secret in a data source", "read issuer.private_key_wo: parse private key", "read encrypted_ssl_config.wrap_key_wo: parse wrap key")
	fails(s.malformed(), "plan", "Error: Wrap key not opened", "Error: Wrap key not usable")
	wrong := []string{"SignatureDoesNotMatch", "InvalidPassword.Malformed", "Source file missing"}
	if p.machine.Address != "" {
		wrong = append(wrong, "unable to authenticate", "it is not a private key in OpenSSH's or PEM form")
	}
	fails(s.wrong(), "apply", wrong...)

	write(main)
	t.Cleanup(func() { w.env = append(w.env, "SSH_AUTH_SOCK="+agent); _, _, _ = w.try("destroy", "-auto-approve") })
	places := s.crash(w, c)
	step("the provider was ended with a trace of its stacks")
	w.planAndApply("create")
	step("applied")
	s.keep("made", "wrap key", mustRead(t, filepath.Join(w.dir, "planted/wrap-key")))
	s.keep("made", "digest key", mustRead(t, filepath.Join(w.dir, "planted/models/.digest-key")))
	for _, file := range []string{"attestation/ca_key.pem", "attestation/server/key.pem", "serving/server/key.pem", "serving/client/key.pem"} {
		addKeySecrets(t, s.given, "made "+file, mustRead(t, filepath.Join(w.dir, "planted", file)))
	}
	s.addSealed(filepath.Join(w.dir, "planted/sealed/ssl.cfg.pf"))
	maps.Copy(places, s.serverPlaces(w))
	w.env = append(w.env, "SSH_AUTH_SOCK="+agent) // a destroy is told of no write-only argument
	w.planAndApply("destroy", "-destroy")
	step("destroyed")
	if list := watch(); list != nil {
		places["process list"] = list
	}
	maps.Copy(places, w.places())
	s.search(places)
	step(fmt.Sprintf("looked for %d secrets in %d places", len(s.given), len(places)))
}

// addSealed adds the server's private key that is in an encrypted ssl.cfg.
func (s *everySecret) addSealed(file string) {
	s.t.Helper()
	var text bytes.Buffer
	if _, err := deploy.DecryptTo(s.t.Context(), &text, deploy.DecryptSpec{
		Source: file, Key: protectedfile.Key(s.given["bytes of resource cc_tls_materials encrypted_ssl_config.wrap_key_wo"]), Options: protectedfile.ReaderOptions{Path: "ssl.cfg"},
	}); err != nil {
		s.t.Fatal(err)
	}
	config, err := tlsmaterials.ParseSSLConfig(text.Bytes())
	if err != nil {
		s.t.Fatal(err)
	}
	addKeySecrets(s.t, s.given, "sealed server key", []byte(config.ServerKey))
}

func (s *everySecret) keep(how, what string, secret []byte) { s.given[how+" "+what] = secret }

// search looks for all secrets, and first for something that is none.
func (s *everySecret) search(places map[string][]byte) {
	s.t.Helper()
	for place, text := range places {
		if !bytes.Contains(text, []byte("planted")) {
			s.t.Errorf("the search is blind: nothing is found in the %s (%d bytes)", place, len(text))
		}
	}
	for name, secret := range s.given {
		if len(secret) < 12 {
			s.t.Fatalf("%s is too short to be told from chance", name)
		}
	}
	search := newSecretSearch(s.given)
	for place, text := range places {
		for _, found := range search.find(text) {
			s.t.Errorf("in the %s is a secret: %s", place, found)
		}
	}
}

// crash applies until the provider waits for the service, with every secret in
// its memory, and has it end as a crash would: with the stacks of all
// goroutines on its standard error, which Terraform logs.
func (s *everySecret) crash(w *workspace, c *cloud) map[string][]byte {
	s.t.Helper()
	w = &workspace{t: w.t, dir: s.t.TempDir(), aside: w.aside, env: w.env}
	mustWrite(s.t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+s.local), 0o600)
	c.sim.ClearFaults()
	before := c.calls("DescribeImages")
	c.sim.Inject(ecssim.Fault{Action: "DescribeImages", Stall: true})
	cmd := w.command("apply", "-auto-approve")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for c.calls("DescribeImages") == before {
		select {
		case err := <-ended:
			s.t.Fatalf("the apply does not come to the machine: %v\n%s", err, output.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	for _, pid := range providersIn(w.dir) {
		if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
			s.t.Errorf("end the provider: %v", err)
		}
	}
	err := <-ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !says("Plugin did not respond").Match(output.Bytes()) {
		s.t.Errorf("the provider does not crash: %v\n%s", err, output.String())
	}
	if log := mustRead(s.t, filepath.Join(w.aside, "trace.log")); !bytes.Contains(log, []byte("SIGQUIT: quit")) || !bytes.Contains(log, []byte("main.main()")) {
		s.t.Errorf("the log has no trace of the provider's stacks:\n%s\n%s", output.String(), regexp.MustCompile(`(?m)^.*(SIGQUIT|goroutine|main\.main).*$`).FindAll(log, 20))
	}
	c.sim.ClearFaults()
	return map[string][]byte{
		"terminal of the crash": append([]byte("planted "), output.Bytes()...), "state after the crash": mustRead(s.t, filepath.Join(w.dir, "terraform.tfstate")),
	}
}

// agent serves the keys of the machines as an agent of SSH does, and returns
// its socket.
func (s *everySecret) agent() string {
	s.t.Helper()
	ring := agent.NewKeyring()
	for name, secret := range s.given {
		if !strings.Contains(name, ".private_key_wo") || !strings.HasPrefix(name, "resource ") || strings.Contains(name, "issuer") {
			continue
		}
		raw, err := ssh.ParseRawPrivateKey(secret)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: raw}); err != nil {
			s.t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "cc-agent-") // a socket's path must be short
	if err != nil {
		s.t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = listener.Close(); _ = os.RemoveAll(dir) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn); _ = conn.Close() }()
		}
	}()
	return filepath.Join(dir, "s")
}

// serverPlaces is what the key servers leave to be read.
func (s *everySecret) serverPlaces(w *workspace) map[string][]byte {
	s.t.Helper()
	files := deploy.KeyServerFilesIn(filepath.Join(w.dir, "planted/key-server"))
	places := map[string][]byte{
		"key server's configuration": mustRead(s.t, files.Config), "key server's log": mustRead(s.t, files.Log), "key server's state file": append([]byte("planted "), mustRead(s.t, files.State)...),
	}
	if name := s.place.container; s.place.machine.Address != "" {
		places["container inspect"] = []byte(dockerOutput(s.t, "inspect", name))
		places["container log"] = []byte(dockerOutput(s.t, "logs", name))
		places["container image"] = []byte("planted" + dockerOutput(s.t, "image", "inspect", dockerOutput(s.t, "inspect", "-f", "{{.Image}}", name)))
		places["container's configuration"] = mustRead(s.t, filepath.Join(s.place.world, "planted-key-server/config/config.yaml"))
	}
	return places
}

// machinesWanted tells whether SSH and Docker are here, or have to be.
func machinesWanted() bool {
	if os.Getenv("CC_REQUIRE_ALL") != "" {
		return true
	}
	for _, program := range []string{"/usr/sbin/sshd", "dockerd", "docker"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return os.Geteuid() == 0
}
