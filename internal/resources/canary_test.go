package resources_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// canary is a search for secrets in everything that Terraform keeps or prints.
//
// It applies Config with the real terraform and the built provider, then
// searches the state, the entries of each saved plan, `terraform show -json`
// of both, the terminal and the TF_LOG=TRACE log. A search that finds nothing
// proves nothing, so it first has to find Planted, which is not secret, in each
// of these places.
type canary struct {
	// Config is the configuration, without the terraform block; it runs in an
	// empty folder and should use relative paths.
	Config string
	// Env is added to Terraform's environment.
	Env []string
	// Planted is a value that the configuration puts into state, plan and log.
	Planted string
	// Secrets reads the secrets that the apply has made, by name, from the
	// folder it ran in.
	Secrets func(t *testing.T, dir string) map[string][]byte
	// Places adds other texts to search, such as a process's environment.
	Places func(t *testing.T, dir string) map[string][]byte
}

func (c canary) hunt(t *testing.T) {
	t.Helper()
	w := newWorkspace(t, c.Config)
	w.env = c.Env
	t.Cleanup(func() { w.terraform("destroy", "-auto-approve") })
	w.planAndApply("create")
	secrets := c.Secrets(t, w.dir)
	if len(secrets) == 0 {
		t.Fatal("no secret to search for")
	}
	extra := map[string][]byte{}
	if c.Places != nil {
		extra = c.Places(t, w.dir)
	}
	w.planAndApply("again")
	w.planAndApply("destroy", "-destroy")

	places := w.places()
	for place, text := range places {
		if !bytes.Contains(text, []byte(c.Planted)) {
			t.Errorf("the search is blind: %q is not found in the %s (%d bytes)", c.Planted, place, len(text))
		}
	}
	for place, text := range extra {
		places[place] = text
	}
	for name, secret := range secrets {
		for place, text := range places {
			if form := findSecret(text, secret); form != "" {
				t.Errorf("the secret %s is in the %s, as %s", name, place, form)
			}
		}
	}
}

// workspace is a folder where terraform runs with the built provider.
type workspace struct {
	t        *testing.T
	dir      string // of the configuration
	aside    string // of what the test itself writes
	env      []string
	terminal bytes.Buffer
	shown    bytes.Buffer
	plans    []string
	states   bytes.Buffer
}

// terraformBlock starts the configuration of a workspace.
const terraformBlock = `
terraform {
  required_providers {
    cc = { source = "ccctl/cc" }
  }
}
`

func newWorkspace(t *testing.T, config string) *workspace {
	t.Helper()
	w := &workspace{t: t, dir: t.TempDir(), aside: t.TempDir()}
	mustWrite(t, filepath.Join(w.dir, "main.tf"),
		[]byte(terraformBlock+config), 0o600)
	mustWrite(t, filepath.Join(w.aside, "dev.tfrc"),
		fmt.Appendf(nil, "provider_installation {\n  dev_overrides {\n    \"ccctl/cc\" = %q\n  }\n  direct {}\n}\n", providerDir(t)), 0o600)
	return w
}

// command is a terraform to be run in the folder.
func (w *workspace) command(args ...string) *exec.Cmd {
	cmd := exec.Command("terraform", append(args, "-no-color")...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(w.aside, "dev.tfrc"),
		"TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(w.aside, "trace.log"), "TF_IN_AUTOMATION=1", "TF_INPUT=0")
	cmd.Env = append(cmd.Env, w.env...)
	return cmd
}

func (w *workspace) try(args ...string) (stdout, stderr string, err error) {
	cmd := w.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	w.terminal.Write(out.Bytes())
	w.terminal.Write(errOut.Bytes())
	return out.String(), errOut.String(), err
}

// terraform runs a command that must succeed and returns its output.
func (w *workspace) terraform(args ...string) string {
	w.t.Helper()
	stdout, stderr, err := w.try(args...)
	if err != nil {
		w.t.Fatalf("terraform %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// fails runs a command that must fail and returns its errors.
func (w *workspace) fails(args ...string) string {
	w.t.Helper()
	stdout, stderr, err := w.try(args...)
	if err == nil {
		w.t.Fatalf("terraform %s succeeded:\n%s", strings.Join(args, " "), stdout)
	}
	return stderr
}

func (w *workspace) planAndApply(name string, flags ...string) {
	w.t.Helper()
	plan := filepath.Join(w.aside, name+".tfplan")
	w.terraform(append([]string{"plan", "-out=" + plan}, flags...)...)
	w.plans = append(w.plans, plan)
	w.shown.WriteString(w.terraform("show", "-json", plan))
	w.terraform("apply", plan)
	w.shown.WriteString(w.terraform("show", "-json"))
	w.states.Write(mustRead(w.t, filepath.Join(w.dir, "terraform.tfstate")))
}

// places collects what is searched, by name.
func (w *workspace) places() map[string][]byte {
	w.t.Helper()
	var plans bytes.Buffer
	for _, plan := range w.plans {
		z, err := zip.OpenReader(plan)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				w.t.Fatal(err)
			}
			if _, err := io.Copy(&plans, r); err != nil {
				w.t.Fatal(err)
			}
			_ = r.Close()
		}
		_ = z.Close()
	}
	return map[string][]byte{
		"state":              w.states.Bytes(),
		"saved plan":         plans.Bytes(),
		"terraform show":     w.shown.Bytes(),
		"terminal":           w.terminal.Bytes(),
		"TF_LOG=TRACE log":   mustRead(w.t, filepath.Join(w.aside, "trace.log")),
		"state's own backup": append(mustRead(w.t, filepath.Join(w.dir, "terraform.tfstate.backup")), w.states.Bytes()...),
	}
}

// findSecret says in which form text contains the secret, or nothing. A text
// with lines, such as PEM, is searched line by line too: JSON and logs break
// the lines up.
func findSecret(text, secret []byte) string {
	for form, s := range secretFormsAndLines(secret) {
		if bytes.Contains(text, []byte(s)) {
			return form
		}
	}
	return ""
}

// secretSearch looks for many secrets at once, in the forms of [findSecret]: a
// log of many megabytes is read once and not thousands of times.
type secretSearch struct {
	begins [1 << 18]uint64 // a bit for each three bytes with which a form begins
	forms  map[[3]byte][]wantedForm
}

type wantedForm struct{ name, form, text string }

func newSecretSearch(secrets map[string][]byte) *secretSearch {
	s := &secretSearch{forms: map[[3]byte][]wantedForm{}}
	for name, secret := range secrets {
		for form, text := range secretFormsAndLines(secret) {
			at := [3]byte([]byte(text[:3]))
			s.forms[at] = append(s.forms[at], wantedForm{name, form, text})
			n := uint32(at[0])<<16 | uint32(at[1])<<8 | uint32(at[2])
			s.begins[n>>6] |= 1 << (n & 63)
		}
	}
	return s
}

// find lists what it finds in a text, each secret once: "NAME, as FORM".
func (s *secretSearch) find(text []byte) []string {
	found := map[string]string{}
	n := uint32(0)
	for i, b := range text {
		n = (n<<8 | uint32(b)) & 0xffffff
		if i < 2 || s.begins[n>>6]&(1<<(n&63)) == 0 {
			continue
		}
		for _, f := range s.forms[[3]byte(text[i-2:])] {
			if found[f.name] == "" && bytes.HasPrefix(text[i-2:], []byte(f.text)) {
				found[f.name] = f.name + ", as " + f.form
			}
		}
	}
	return slices.Sorted(maps.Values(found))
}

// secretFormsAndLines are the forms of a secret, and the lines of one that has
// several.
func secretFormsAndLines(secret []byte) map[string]string {
	forms := secretForms(secret)
	if lines := strings.Split(string(secret), "\n"); len(lines) > 1 {
		for i, line := range lines {
			if len(line) >= 16 && !strings.HasPrefix(line, "-----") {
				forms[fmt.Sprintf("line %d", i+1)] = line
			}
		}
	}
	return forms
}

func secretForms(secret []byte) map[string]string {
	plain := hex.EncodeToString(secret)
	decimal := strings.Trim(fmt.Sprintf("%d", secret), "[]") // as %v prints bytes
	reversed := slices.Clone(secret)
	slices.Reverse(reversed)
	forms := map[string]string{
		"raw":            string(secret),
		"hex":            plain,
		"HEX":            strings.ToUpper(plain),
		"spaced hex":     fmt.Sprintf("% x", secret),
		"decimals":       decimal,
		"JSON decimals":  strings.ReplaceAll(decimal, " ", ","),
		"HCL decimals":   strings.ReplaceAll(decimal, " ", ", "),
		"reversed":       string(reversed),
		"reversed hex":   hex.EncodeToString(reversed),
		"Go string":      strings.Trim(fmt.Sprintf("%q", secret), `"`),
		"URL query":      url.QueryEscape(string(secret)),
		"URL path":       url.PathEscape(string(secret)),
		"percent signs":  strings.ReplaceAll(url.QueryEscape(string(secret)), "+", "%20"),
		"URL twice":      url.QueryEscape(url.QueryEscape(string(secret))),
		"signed string":  url.QueryEscape(strings.ReplaceAll(url.QueryEscape(string(secret)), "+", "%20")),
		"Go byte values": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
	}
	// Inside a longer text the secret starts at any of three positions of a
	// base64 group, and its neighbours change the characters at its ends.
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		from := (shift*8 + 5) / 6
		to := len(padded) * 8 / 6
		forms[fmt.Sprintf("base64 at %d", shift)] = base64.StdEncoding.EncodeToString(padded)[from:to]
		forms[fmt.Sprintf("base64url at %d", shift)] = base64.URLEncoding.EncodeToString(padded)[from:to]
		padded = append(make([]byte, shift), reversed...)
		forms[fmt.Sprintf("reversed base64 at %d", shift)] = base64.StdEncoding.EncodeToString(padded)[from:to]
		forms[fmt.Sprintf("reversed base64url at %d", shift)] = base64.URLEncoding.EncodeToString(padded)[from:to]
	}
	return forms
}

// TestFindSecret proves that the search sees every form it claims to see.
func TestFindSecret(t *testing.T) {
	t.Parallel()
	secret := []byte("\x00\x8f\xfe~7#\"\x1b0123\xff\xfb\xc0k")
	backwards := slices.Clone(secret)
	slices.Reverse(backwards)
	if form := findSecret(bytes.Repeat([]byte("nothing to see 0123"), 100), secret); form != "" {
		t.Errorf("found as %s where it is not", form)
	}
	for form, text := range map[string]string{
		"raw": "x" + string(secret) + "y", "hex": hex.EncodeToString(secret), "HEX": fmt.Sprintf("%X", secret),
		"printed": fmt.Sprintf("key is %v.", secret), "Go": fmt.Sprintf("%#v", secret), "quoted": fmt.Sprintf("%q", secret),
		"JSON": strings.ReplaceAll(fmt.Sprintf("%d", secret), " ", ","), "URL": url.Values{"k": {string(secret)}}.Encode(),
		"signed":   url.QueryEscape("Password=" + strings.ReplaceAll(url.QueryEscape(string(secret)), "+", "%20")),
		"reversed": string(backwards), "reversed hex": hex.EncodeToString(backwards), "reversed base64": base64.StdEncoding.EncodeToString(backwards),
		"reversed base64url": base64.URLEncoding.EncodeToString(append([]byte("x"), backwards...)),
	} {
		if findSecret([]byte(text), secret) == "" {
			t.Errorf("not found as %s", form)
		}
	}
	search := newSecretSearch(map[string][]byte{"a": secret, "b": []byte("another secret 42")})
	for form, text := range secretForms(secret) {
		if found := search.find([]byte("before " + text + " after")); len(found) != 1 || !strings.HasPrefix(found[0], "a, as ") {
			t.Errorf("the search for many does not find %s: %v", form, found)
		}
	}
	if found := search.find([]byte(strings.Repeat("nothing to see 0123", 100))); len(found) > 0 {
		t.Errorf("the search for many finds %v", found)
	}
	for before := range 4 {
		for after := range 4 {
			text := append(append(bytes.Repeat([]byte{0xa5}, before), secret...), bytes.Repeat([]byte{0x5a}, after)...)
			for name, enc := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding} {
				if findSecret([]byte(enc.EncodeToString(text)), secret) == "" {
					t.Errorf("not found as base64 (%s) with %d bytes before and %d after", name, before, after)
				}
			}
		}
	}
	pem := []byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ0\nAAAA\n-----END PRIVATE KEY-----\n")
	if form := findSecret([]byte(`{"k":"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ0\n"}`), pem); form != "line 2" {
		t.Errorf("PEM inside JSON found as %q", form)
	}
	if form := findSecret([]byte("-----BEGIN PRIVATE KEY-----"), pem); form != "" {
		t.Errorf("the PEM label alone found as %q", form)
	}
}
