package pccs

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// TestAPIv3 gets collateral from a service of the retired version, which takes being asked to.
func TestAPIv3(t *testing.T) {
	s := startService(t, httptest.NewServer)
	v3 := s.URL + "/sgx/certification/v3/"
	var asked []string
	s.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if !strings.HasPrefix(r.URL.Path, "/sgx/certification/v3/") {
			a.Status = http.StatusNotFound
		}
		s.mu.Lock()
		asked = append(asked, strings.TrimPrefix(r.URL.RequestURI(), "/sgx/certification/v3/"))
		s.mu.Unlock()
	})
	if _, err := NewClient(ClientOptions{URL: v3}); err == nil || !strings.Contains(err.Error(), "that version of the API has been retired") {
		t.Errorf("without the option: %v", err)
	}
	client, err := NewClient(ClientOptions{URL: v3, AllowAPIv3: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := client.Collateral(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(c.TCBInfo), `"version":2`) {
		t.Errorf("TCB info %.80s", c.TCBInfo)
	}
	s.verify(t, c)
	slices.Sort(asked)
	want := []string{"pckcrl?ca=platform&encoding=der", "qe/identity", "rootcacrl", "tcb?fmspc=00606A000000"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	// With the option, a URL of version 4 is still one of version 4.
	both, err := NewClient(ClientOptions{URL: s.URL, AllowAPIv3: true})
	if err != nil || !strings.HasSuffix(both.URL(), "/v4/") {
		t.Errorf("%v, %v", both.URL(), err)
	}
}

func TestEvaluationNumber(t *testing.T) {
	s := newService(t)
	for _, tt := range []struct {
		number uint32
		want   string // in the TCB info, or in the error
	}{
		{17, `"tcbEvaluationDataNumber":17`},
		{18, `"tcbEvaluationDataNumber":18`},
		{16, "HTTP status 410: the document has been withdrawn"},
		{19, "HTTP status 404"},
	} {
		c, err := s.client(t, ClientOptions{EvaluationNumber: tt.number}).Collateral(t.Context(), s.where())
		switch {
		case err != nil && !strings.Contains(err.Error(), tt.want), err == nil && !strings.Contains(string(c.TCBInfo), tt.want):
			t.Errorf("%d: error %v, want %s", tt.number, err, tt.want)
		case err == nil && !strings.Contains(string(c.QEIdentity), tt.want):
			t.Errorf("%d: QE identity %s", tt.number, c.QEIdentity)
		}
	}
	// An old service does not know the argument.
	for _, item := range []string{"tcb", "qe/identity"} {
		s.setFault(func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, item) {
				r.URL.RawQuery = "fmspc=" + r.URL.Query().Get("fmspc")
				plain := httptest.NewRecorder()
				(&sgxsim.PCCS{Platform: s.platform, Now: time.Now}).ServeHTTP(plain, r)
				a.Body = plain.Body.Bytes()
			}
		})
		_, err := s.client(t, ClientOptions{EvaluationNumber: 18}).Collateral(t.Context(), s.where())
		if err == nil || !strings.Contains(err.Error(), "the document has tcbEvaluationDataNumber 17, and 18 was asked for") {
			t.Errorf("%s: error %v", item, err)
		}
	}
}

func TestContradictoryLevels(t *testing.T) {
	const url = "https://example.com/sgx/certification/"
	for _, tt := range []struct {
		opts ClientOptions
		want string
	}{
		{ClientOptions{URL: url + "v4/", Update: UpdateEarly, EvaluationNumber: 17}, "give either an evaluation number or update early, not both"},
		{ClientOptions{URL: url + "v3/", AllowAPIv3: true, Update: UpdateEarly}, "version 3 of the API has one set of TCB levels"},
		{ClientOptions{URL: url + "v3/", AllowAPIv3: true, EvaluationNumber: 1}, "version 3 of the API has one set of TCB levels"},
		{ClientOptions{URL: url + "v2/", AllowAPIv3: true}, "that version of the API has been retired"},
	} {
		if c, err := NewClient(tt.opts); c != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %s", tt.opts, err, tt.want)
		}
	}
}

// TestSharedDirectoryKeepsSetsApart has processes share a directory that ask for different sets of TCB levels: none may
// be served the other's.
func TestSharedDirectoryKeepsSetsApart(t *testing.T) {
	s := newService(t)
	dir := t.TempDir()
	for _, round := range []string{"fetched", "from the directory"} {
		for _, tt := range []struct {
			opts ClientOptions
			want string
		}{
			{ClientOptions{}, `"tcbEvaluationDataNumber":17`},
			{ClientOptions{Update: UpdateEarly}, `"tcbEvaluationDataNumber":18`},
			{ClientOptions{Update: UpdateStandard}, `"tcbEvaluationDataNumber":17`},
			{ClientOptions{EvaluationNumber: 18}, `"tcbEvaluationDataNumber":18`},
		} {
			cache, err := NewCache(s.client(t, tt.opts), CacheOptions{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			c := cache.mustGet(t, s.where())
			if !strings.Contains(string(c.TCBInfo), tt.want) || !strings.Contains(string(c.QEIdentity), tt.want) {
				t.Errorf("%s: %+v got %.200s", round, tt.opts, c.TCBInfo)
			}
			cache.Close()
		}
	}
	// Three sets of two documents, and the CRLs once.
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 8 || s.total() != 8 {
		t.Errorf("%d files after %d requests, want 8 of each: %v", len(files), s.total(), files)
	}
	if _, err := os.Stat(filepath.Join(dir, "tcb-info-00606a000000-early.json")); err != nil {
		t.Error(err)
	}
}
