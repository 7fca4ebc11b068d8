package keyserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// admin serves the administrative listener of a server until the test ends and returns its URL.
func (w *world) admin(s *running) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.serveAdmin(l, "v1.2.3-test"))
	return "http://" + l.Addr().String()
}

func fetchText(t testing.TB, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v: %s", address, resp.Status, err, body)
	}
	return string(body)
}

// awaitDecisions waits until a server remembers so many decisions; a decision is remembered after the client knows it.
func awaitDecisions(t *testing.T, s *running, n int) []console.Decision {
	t.Helper()
	var all []console.Decision
	waitUntil(t, fmt.Sprintf("%d decisions are remembered", n), func() bool {
		all, _ = s.recent.After(0)
		return len(all) >= n
	})
	return all
}

const hostileName = `<img/src=//evil.example/x/onerror=fetch('//evil.example')>`

// hostileWorld is a server that has released, and has refused an enclave whose every word is HTML.
func hostileWorld(t *testing.T) (*world, *running) {
	t.Helper()
	w := newWorld(t)
	w.subject = `</title><script src=//evil.example/s></script>`
	w.issue("localhost", "127.0.0.1", hostileName)
	s := w.start(w.config() + "admin: { listen: '127.0.0.1:0' }\n")
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	awaitDecisions(t, s, 1)
	e := w.enclave(s)
	id := w.identity
	id.Debug = true
	e.Quoter, e.Dial, e.Servers = w.platform.Quoter(id), dialTo(s.addr), hostileName+":4433"
	if _, err := provision(t, e); err == nil {
		t.Fatal("a debug enclave got the key")
	}
	awaitDecisions(t, s, 2)
	return w, s
}

// shown is what a browser makes of the status page.
type shown struct {
	title    string
	text     map[string]string // of elements, by id
	rows     int               // of the table of decisions
	strange  int               // elements that the page does not have by itself
	display  string            // how the style sheet lays out a list of definitions
	requests []string          // every URL that was asked for
}

// browse opens the page in a browser of its own.
func browse(t *testing.T, address string, script bool) shown {
	t.Helper()
	program, flags := testhost.Chromium(t)
	opts := []chromedp.ExecAllocatorOption{chromedp.ExecPath(program), chromedp.WSURLReadTimeout(time.Minute)}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		opts = append(opts, chromedp.Flag(name, flags[name]))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx, stop := chromedp.NewExecAllocator(ctx, opts...)
	defer stop()
	ctx, closeTab := chromedp.NewContext(ctx)
	defer closeTab()

	var page shown
	var mu sync.Mutex
	listening, hear := context.WithCancel(ctx)
	var heard sync.WaitGroup
	listen := func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, tab, network.Enable, network.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		requests := cdp.Events(listening, tab, network.RequestWillBeSent)
		heard.Go(func() {
			for e, err := range requests {
				if err != nil {
					return
				}
				mu.Lock()
				page.requests = append(page.requests, e.Request.URL)
				mu.Unlock()
			}
		})
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script})
		return chromedp.Void{}, err
	}
	if err := chromedp.Do(ctx, listen, chromedp.Navigate(address)); err != nil {
		t.Fatalf("browse %s: %v", address, err)
	}
	// The tools evaluate what the page itself may not.
	page.title = evaluate[string](ctx, t, `document.title`)
	page.text = evaluate[map[string]string](ctx, t, `Object.fromEntries([...document.querySelectorAll("[id]")].map(e => [e.id, e.innerText]))`)
	page.rows = evaluate[int](ctx, t, `document.querySelectorAll("#decisions tbody tr").length`)
	page.strange = evaluate[int](ctx, t, `[...document.querySelectorAll("*")].filter(e => e.matches("script, img, iframe, object, embed, form") ||
		[...e.attributes].some(a => a.name.startsWith("on") || a.name == "style")).length`)
	page.display = evaluate[string](ctx, t, `getComputedStyle(document.querySelector("dl")).display`)
	if err := chromedp.Cancel(ctx); err != nil {
		t.Errorf("close browser: %v", err)
	}
	hear()
	heard.Wait()
	return page
}

func evaluate[T any](ctx context.Context, t *testing.T, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("evaluate %s: %v", expression, err)
	}
	return value
}

// TestPageInABrowser: the page shows a release and a refusal, with and without JavaScript, asks no other host for anything, and
// what strangers wrote is text.
func TestPageInABrowser(t *testing.T) {
	testhost.Chromium(t)
	w, s := hostileWorld(t)
	address := w.admin(s)
	for _, script := range []bool{true, false} {
		t.Run(fmt.Sprintf("script=%v", script), func(t *testing.T) {
			page := browse(t, address+"/", script)
			for _, r := range page.requests {
				if u, err := url.Parse(r); err != nil || u.Scheme != "data" && "http://"+u.Host != address {
					t.Errorf("the page asked for %s", r)
				}
			}
			if len(page.requests) == 0 {
				t.Error("no request was seen")
			}
			if page.rows != 2 || page.strange != 0 || page.title != "Serving: key server "+s.addr {
				t.Errorf("%d rows, %d elements that do not belong there, title %q", page.rows, page.strange, page.title)
			}
			if page.display != "grid" {
				t.Errorf("the style is not applied: the policy refuses it (display is %q)", page.display)
			}
			for id, wants := range map[string][]string{
				"ready": {"Serving enclaves"},
				"decisions": {
					"sent", "the rule", "model", "fingerprint", "SWHardeningNeeded", "INTEL-SA-00615", "00606A000000",
					"refused", "debug, got a debug enclave, wanted a production enclave", hostileName,
				},
				"rules": {"the rule", "MRENCLAVE", "SWHardeningNeeded", "model"}, "secrets": {"model-hex", "fingerprint", "no rule"},
				"collateral":    {"TCB info of FMSPC 00606A000000", "QE identity", "CRL of the root CA", "good", w.url},
				"config-sha256": {s.Config().Digest()}, "subject": {"script src", "evil.example"},
			} {
				for _, want := range wants {
					if !strings.Contains(page.text[id], want) {
						t.Errorf("#%s does not show %q: %q", id, want, page.text[id])
					}
				}
			}
			checkNoCanary(t, "the page", fmt.Sprint(page))
		})
	}
}

// TestStatusPage needs no browser: the JSON says the same.
func TestStatusPage(t *testing.T) {
	w, s := hostileWorld(t)
	address := w.admin(s)
	var status console.Status
	if err := json.Unmarshal([]byte(fetchText(t, address+"/status")), &status); err != nil {
		t.Fatal(err)
	}
	if !status.Ready || status.Listen != s.addr || status.Version != "v1.2.3-test" || len(status.Problems) != 0 || status.UptimeSeconds < 0 ||
		status.Configuration.SHA256 != s.Config().Digest() || status.Configuration.Refused != nil {
		t.Errorf("status: %+v", status)
	}
	if len(status.Decisions) != 2 {
		t.Fatalf("decisions: %+v", status.Decisions)
	}
	refused, sent := status.Decisions[0], status.Decisions[1]
	if sent.Verdict != console.VerdictSent || sent.Rule != "the rule" || sent.Secret != "model" || sent.KeyFingerprint != "fingerprint" || !sent.Verified ||
		sent.FMSPC != "00606A000000" || sent.TCBStatus != "SWHardeningNeeded" || len(sent.Reasons) != 0 || sent.Time.IsZero() {
		t.Errorf("the release: %+v", sent)
	}
	if refused.Verdict != console.VerdictRefused || refused.ServerName != hostileName || len(refused.Reasons) != 1 || refused.Reasons[0].Check != "debug" || refused.Rule != "" {
		t.Errorf("the refusal: %+v", refused)
	}
	if len(status.Rules) != 1 || status.Rules[0].Releases != 1 || len(status.Secrets) != 2 || len(status.Secrets[1].Rules) != 0 {
		t.Errorf("rules %+v, secrets %+v", status.Rules, status.Secrets)
	}
	if len(status.Collateral.Documents) != 4 || !strings.HasPrefix(status.Collateral.Source, w.url) {
		t.Errorf("collateral: %+v", status.Collateral)
	}
	for _, d := range status.Collateral.Documents {
		if d.State != "good" || d.Expires.IsZero() {
			t.Errorf("%s is %s", d.Name, d.State)
		}
	}
	page := fetchText(t, address+"/")
	if strings.Contains(page, "<img") || strings.Contains(page, "<script") {
		t.Error("what a stranger wrote is markup")
	}
	// A bad configuration shows, and a good one after it takes that away.
	w.write("server.yaml", []byte("x"))
	if err := s.reload(t.Context(), w.dir+"/server.yaml"); err == nil {
		t.Fatal("a bad configuration is in force")
	}
	if c := s.Status().Configuration; c.Refused == nil || !strings.Contains(c.Refused.Error, "check configuration") || c.SHA256 != s.Config().Digest() {
		t.Errorf("configuration: %+v", c)
	}
	if page := fetchText(t, address+"/"); !strings.Contains(page, "A newer one was refused") {
		t.Error("the page does not show the refused configuration")
	}
	w.write("server.yaml", []byte(w.config()+"admin: { listen: '127.0.0.1:0' }\n# new\n"))
	if err := s.reload(t.Context(), w.dir+"/server.yaml"); err != nil {
		t.Fatal(err)
	}
	if c := s.Status().Configuration; c.Refused != nil || !strings.HasSuffix(c.File, "server.yaml") {
		t.Errorf("configuration: %+v", c)
	}
}

func TestStatusOfTroubles(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	var offset time.Duration
	opts := w.options()
	opts.Now = func() time.Time { return now.Add(offset) }
	w.writeBundle("collateral.json")
	s, err := New(w.parse(strings.Replace(w.config(), fmt.Sprintf("url: %q", w.url), "bundle: collateral.json", 1)), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	says := func(list []string, want string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, want) })
	}
	status := s.Status()
	if status.Ready || !says(status.Problems, "the server has not started to listen") || !strings.HasSuffix(status.Collateral.Source, "collateral.json") {
		t.Errorf("at the start: %+v", status)
	}
	offset = 20 * 24 * time.Hour
	status = s.Status()
	if !says(status.Warnings, "the server's certificate expires in ") || !says(status.Warnings, "collateral: QE identity is too old") {
		t.Errorf("warnings: %q", status.Warnings)
	}
	offset = 60 * 24 * time.Hour
	status = s.Status()
	if !says(status.Problems, "the server's certificate has expired") || !says(status.Warnings, "collateral: QE identity is expired") {
		t.Errorf("problems: %q, warnings: %q", status.Problems, status.Warnings)
	}
}

// TestAFailedConnectionIsRemembered, and one that only looked is not.
func TestAFailedConnectionIsRemembered(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	listens(t, s.addr)
	e := w.enclave(s)
	e.CA = sgxsimOtherCA(t)
	if _, err := provision(t, e); err == nil {
		t.Fatal("an enclave trusted another CA")
	}
	all := awaitDecisions(t, s, 1)
	if len(all) != 1 || all[0].Verdict != console.VerdictFailed || !strings.Contains(all[0].Error, "refused this server's certificate") {
		t.Errorf("decisions: %+v", all)
	}
}

func sgxsimOtherCA(t *testing.T) []byte {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p.RootPEM()
}

// TestAdminTLSIsReloaded: a renewed certificate and another client CA take effect without a restart, TLS itself does not.
func TestAdminTLSIsReloaded(t *testing.T) {
	w := newWorld(t)
	admin := "admin: { listen: '127.0.0.1:0', tls: { certificate: server.pem, private_key: server-key.pem, client_ca: ca.pem } }\n"
	w.issueUntil(time.Now().Add(9*24*time.Hour), "localhost", "127.0.0.1")
	s := w.start(w.config() + admin)
	key := func() string {
		g := s.acquire()
		defer s.release(g)
		return string(g.admin.Certificates[0].Leaf.RawSubjectPublicKeyInfo)
	}
	if !slices.ContainsFunc(s.Status().Warnings, func(s string) bool { return strings.HasPrefix(s, "the admin listener's certificate expires in 8 d") }) {
		t.Errorf("warnings: %q", s.Status().Warnings)
	}
	before, stamped := key(), stamp(s.files("server.yaml"))
	w.issue("localhost", "127.0.0.1")
	if stamp(s.files("server.yaml")) == stamped {
		t.Error("the watch does not look at the admin listener's files")
	}
	if err := s.Reload(w.parse(w.config() + strings.Replace(admin, "tls:", "server_names: [keys.example.com], tls:", 1))); err != nil {
		t.Fatal(err)
	}
	if key() == before {
		t.Error("the certificate is the old one")
	}
	for _, tt := range []struct{ admin, err string }{
		{"admin: { listen: '127.0.0.1:0' }\n", "admin: changed from 127.0.0.1:0 with TLS to 127.0.0.1:0; restart the server"},
		{"", "admin: changed from 127.0.0.1:0 with TLS to none; restart the server"},
		{strings.Replace(admin, "server-key.pem", "wrap-key", 1), "admin.tls: load certificate and private key: tls: failed to find any PEM data in key input"},
		{strings.Replace(admin, "ca.pem", "nobody.pem", 1), "admin.tls: open file: "},
	} {
		err := s.Reload(w.parse(w.config() + tt.admin))
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("with %s: error is %v, want %q", tt.admin, err, tt.err)
		}
	}
}
