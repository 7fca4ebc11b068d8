package ecs

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received is a request as the fake service saw it.
type received struct {
	method      string
	query, form url.Values
	header      http.Header
	merged      map[string]string
}

// fake answers calls with what handle returns, and remembers them.
type fake struct {
	mu    sync.Mutex
	calls []received
}

func (f *fake) all() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// newFake returns a client of a service that answers with handle, which gets
// the number of the call from 1.
func newFake(t *testing.T, handle func(n int, r received) (status int, body string)) (*Client, *fake) {
	t.Helper()
	f := &fake{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		in := received{method: r.Method, query: r.URL.Query(), form: form, header: r.Header, merged: map[string]string{}}
		for _, values := range []url.Values{in.query, in.form} {
			for k, v := range values {
				in.merged[k] = v[0]
			}
		}
		f.mu.Lock()
		f.calls = append(f.calls, in)
		n := len(f.calls)
		f.mu.Unlock()
		status, answer := handle(n, in)
		if status == 0 { // cut
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	c := newTestClient(t, web.URL, Credentials{AccessKey: "LTAItestAccessKey", SecretKey: "testSecretKey"})
	t.Cleanup(func() { c.Close(); web.Close() })
	return c, f
}

// quick is a pace for tests.
var quick = Backoff{Min: time.Millisecond, Max: 4 * time.Millisecond}

func newTestClient(t *testing.T, endpoint string, creds Credentials) *Client {
	t.Helper()
	c, err := New(Config{
		Region: "cn-beijing", Credentials: creds, Endpoints: Endpoints{ECS: endpoint, VPC: endpoint, STS: endpoint}, Backoff: quick, UserAgent: "test/1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func apiError(status int, code string) (int, string) {
	return status, `{"RequestId":"REQ-1","HostId":"h","Code":"` + code + `","Message":"About ` + code + `."}`
}

func seconds(t *testing.T, n int) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// mustSay fails unless err contains every text.
func mustSay(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

// mustHide fails if err, however it is printed, contains a text.
func mustHide(t *testing.T, printed string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.QueryEscape(url.QueryEscape(s))} {
			if strings.Contains(printed, form) {
				t.Errorf("%q contains the secret %q", printed, form)
			}
		}
	}
}
