package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shown is a console with nothing unusual in it.
func shown() Options {
	return Options{
		Ready: func() error { return nil }, Metrics: figures, Recent: &Recent{},
		Status: func() *Status {
			return &Status{Version: "v1", Listen: "127.0.0.1:4433", Now: noon, Started: noon.Add(-time.Hour), Ready: true, UptimeSeconds: 3600}
		},
	}
}

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func figures(w io.Writer) error {
	_, err := io.WriteString(w, "figures 1\n")
	return err
}

func ask(t *testing.T, h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.Host = host
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

const wrongHost = "this listener is for localhost, for its own address, and for the names in admin.server_names"

func TestHandler(t *testing.T) {
	unready := errors.New("the server has not started to listen")
	opts := shown()
	opts.Ready = func() error { return unready }
	opts.Names = func() []string { return []string{"Keys.example.com."} }
	h := Handler(opts)
	for _, tt := range []struct {
		method, host, path string
		status             int
		body               string
	}{
		{"GET", "127.0.0.1:9433", "/healthz", 200, "ok"},
		{"GET", "localhost:9433", "/healthz", 200, "ok"},
		{"GET", "LOCALHOST.:9433", "/healthz", 200, "ok"},
		{"GET", "localhost", "/healthz", 200, "ok"},
		{"GET", "[::1]:9433", "/healthz", 200, "ok"},
		{"GET", "[::1]", "/healthz", 200, "ok"},
		{"HEAD", "127.0.0.1:9433", "/healthz", 200, ""},
		{"GET", "127.0.0.1:9433", "/readyz", 503, "the server has not started to listen"},
		{"GET", "keys.example.com:9433", "/healthz", 200, "ok"},
		{"GET", "KEYS.example.com.", "/healthz", 200, "ok"},
		{"GET", "evil.keys.example.com", "/healthz", 421, wrongHost},
		{"GET", "rebound.example.com", "/healthz", 421, wrongHost},
		{"GET", "rebound.example.com", "/", 421, wrongHost},
		{"GET", "rebound.example.com", "/status", 421, wrongHost},
		{"GET", "rebound.example.com", "/decisions", 421, wrongHost},
		{"GET", "192.0.2.7:9433", "/readyz", 421, wrongHost},
		{"GET", "", "/readyz", 421, wrongHost},
		{"GET", "localhost.example.com", "/readyz", 421, wrongHost},
		{"GET", "127.0.0.1:9433", "/metrics", 200, "figures 1"},
		{"GET", "rebound.example.com", "/metrics", 421, wrongHost},
		{"POST", "127.0.0.1:9433", "/healthz", 405, "Method Not Allowed"},
		{"POST", "127.0.0.1:9433", "/", 405, "Method Not Allowed"},
		{"DELETE", "127.0.0.1:9433", "/status", 405, "Method Not Allowed"},
		{"GET", "127.0.0.1:9433", "/secrets", 404, "404 page not found"},
		{"GET", "127.0.0.1:9433", "/?refresh=1", 400, "read refresh: 1 is not between 5 and 3600 seconds"},
		{"GET", "127.0.0.1:9433", "/?refresh=x", 400, "read refresh: it is not a number from 0 on"},
		{"GET", "127.0.0.1:9433", "/status?decisions=-1", 400, "read decisions: it is not a number from 0 on"},
		{"GET", "127.0.0.1:9433", "/decisions?after=x&wait=y", 400, "read after: it is not a number from 0 on\nread wait: it is not a number from 0 on"},
	} {
		rec := ask(t, h, tt.method, tt.host, tt.path)
		if rec.Code != tt.status || tt.body != "" && strings.TrimSpace(rec.Body.String()) != tt.body {
			t.Errorf("%s %s for %s: %d %q, want %d %q", tt.method, tt.path, tt.host, rec.Code, rec.Body, tt.status, tt.body)
		}
	}
	unready = nil
	rec := ask(t, h, "GET", "127.0.0.1:9433", "/readyz")
	if rec.Code != 200 {
		t.Errorf("ready: %d", rec.Code)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Content-Security-Policy": contentSecurityPolicy,
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"} {
		if !strings.Contains(contentSecurityPolicy, part) {
			t.Errorf("the policy does not say %s", part)
		}
	}
	if strings.Contains(contentSecurityPolicy, "script-src") || strings.Contains(contentSecurityPolicy, "unsafe") {
		t.Errorf("the policy is %s", contentSecurityPolicy)
	}
}

// TestAddressOfTheListener: the address that a request arrived at may be its host, and no other address.
func TestAddressOfTheListener(t *testing.T) {
	h := Handler(shown())
	for _, tt := range []struct {
		local  net.Addr
		host   string
		status int
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9433}, "192.0.2.7:9433", 200},
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9433}, "192.0.2.8:9433", 421},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 9433, Zone: "eth0"}, "[2001:db8::7]:9433", 200},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 9433}, "[2001:db8::8]:9433", 421},
		{&net.UnixAddr{Name: "192.0.2.7"}, "192.0.2.7", 421},
	} {
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, tt.local), "GET", "/healthz", nil)
		r.Host = tt.host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != tt.status {
			t.Errorf("%s at %s: %d, want %d", tt.host, tt.local, rec.Code, tt.status)
		}
	}
}

// fill puts text into every string of v, and one element into every list.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(noon.Add(-100 * time.Second)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	default:
		if v.CanInt() {
			v.SetInt(7)
		} else if v.CanUint() {
			v.SetUint(7)
		}
	}
}

// TestHostileText: whatever any field holds, the page has no element and no attribute that the template does not have.
func TestHostileText(t *testing.T) {
	render := func(text string) string {
		t.Helper()
		opts := shown()
		opts.Status = func() *Status {
			var s Status
			fill(reflect.ValueOf(&s).Elem(), text)
			s.Now = noon
			return &s
		}
		var d Decision
		fill(reflect.ValueOf(&d).Elem(), text)
		opts.Recent.Add(d)
		rec := ask(t, Handler(opts), "GET", "localhost", "/")
		if rec.Code != 200 {
			t.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
		return rec.Body.String()
	}
	tags := regexp.MustCompile(`<[^>]*>`)
	// Attributes that show text are compared by name alone.
	skeleton := func(page string) string {
		return strings.Join(tags.FindAllString(regexp.MustCompile(`title="[^"<>]*"`).ReplaceAllString(page, "title"), -1), "\n")
	}
	plain := render("xxxxxxxxxxxxxxxxxxxxx")
	if strings.Count(plain, "xxxxxxxxxxxxxxxx") < 40 {
		t.Fatalf("the page shows hardly any text:\n%s", plain)
	}
	for _, hostile := range []string{
		`<script>fetch("//evil.example")</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, "</style><script>1</script>",
		`</title><meta http-equiv="refresh" content="0;url=//evil.example">`, "javascript:alert(1) {{.Secrets}} <!-- ",
	} {
		page := render(hostile)
		if got, want := skeleton(page), skeleton(plain); got != want {
			t.Errorf("with %s the page has other elements:\n%s\nwant:\n%s", hostile, got, want)
		}
	}
}

func TestPageSaysWhatIsWrong(t *testing.T) {
	opts := shown()
	opts.Status = func() *Status {
		return &Status{
			Now: noon, Listen: "[::]:4433", Problems: []string{"no enclave can be verified"}, Warnings: []string{"it will get worse"},
			Configuration: Configuration{Refused: &Refused{Time: noon.Add(-3 * time.Hour), Error: "rules is empty"}},
			Audit:         &Audit{File: "/a.log", Error: "no space left on device"},
			Collateral:    Collateral{Documents: []Document{{Name: "QE identity", State: "expired", Expires: noon.Add(-72 * time.Hour)}}},
		}
	}
	page := ask(t, Handler(opts), "GET", "localhost", "/?refresh=30").Body.String()
	for _, want := range []string{
		"<title>NOT SERVING: key server [::]:4433</title>", `<meta http-equiv="refresh" content="30">`, "Not serving enclaves",
		"no enclave can be verified", "it will get worse", "rules is empty", "(3 h ago)", "no space left on device", "2026-10-30 12:00:00Z (3 d ago)",
		`<td class="bad">expired</td>`, "None since the start.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if page := ask(t, Handler(shown()), "GET", "localhost", "/").Body.String(); strings.Contains(page, "http-equiv") || !strings.Contains(page, "Serving enclaves") {
		t.Errorf("page: %s", page)
	}
}

func TestStatusAsJSON(t *testing.T) {
	opts := shown()
	for range 5 {
		opts.Recent.Add(Decision{Verdict: VerdictRefused, ServerName: "<b>&"})
	}
	rec := ask(t, Handler(opts), "GET", "localhost", "/status?decisions=2")
	var s Status
	if err := json.Unmarshal(rec.Body.Bytes(), &s); err != nil || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%v: %s", err, rec.Body)
	}
	if len(s.Decisions) != 2 || s.Decisions[0].Seq != 5 || s.Decisions[1].Seq != 4 || s.Decisions[0].ServerName != "<b>&" || !s.Ready {
		t.Errorf("status: %+v", s)
	}
	rec = ask(t, Handler(opts), "GET", "localhost", "/status")
	if err := json.Unmarshal(rec.Body.Bytes(), &s); err != nil || len(s.Decisions) != 5 {
		t.Errorf("%v: %d decisions", err, len(s.Decisions))
	}
}

func TestClock(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "-"},
		{noon, "2026-11-02 12:00:00Z"},
		{noon.Add(-90 * time.Second), "2026-11-02 11:58:30Z (90 s ago)"},
		{noon.Add(90 * time.Minute), "2026-11-02 13:30:00Z (in 90 min)"},
		{noon.Add(-47 * time.Hour), "2026-10-31 13:00:00Z (47 h ago)"},
		{noon.Add(30 * 24 * time.Hour), "2026-12-02 12:00:00Z (in 30 d)"},
	} {
		if got := clock(tt.at, noon); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
