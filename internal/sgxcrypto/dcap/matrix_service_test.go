package dcap_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// service is a collateral service with a fault, and what it was asked.
type service struct {
	*lab
	mu    sync.Mutex
	asked map[string]int // requests by the last part of the path
	url   string
	// timeout of a request; long, for a busy machine answers late.
	timeout time.Duration
}

func newService(t *testing.T, fault func(path string, nth int, a *sgxsim.Answer)) *service {
	s := &service{lab: newLab(t, ""), asked: map[string]int{}, timeout: time.Minute}
	server := httptest.NewServer(&sgxsim.PCCS{Platform: s.p, Now: func() time.Time { return labTime }, Fault: func(r *http.Request, a *sgxsim.Answer) {
		path := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		s.mu.Lock()
		s.asked[path]++
		nth := s.asked[path]
		s.mu.Unlock()
		if fault != nil {
			fault(path, nth, a)
		}
	}})
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// fetch asks for the lab's platform and verifies the lab's quote with what comes.
func (s *service) fetch() (*dcap.Verdict, error) {
	client, err := pccs.NewClient(pccs.ClientOptions{URL: s.url, Attempts: 2, Timeout: s.timeout})
	s.must(err)
	defer client.Close()
	platform, err := dcap.CheckEvidence(s.quote(), dcap.VerifyOptions{At: s.at, Roots: s.roots})
	s.must(err)
	s.c, err = client.Collateral(s.tb.Context(), platform.Platform())
	if err != nil {
		return nil, err
	}
	return s.verify(nil)
}

func (s *service) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// timedOut is the fault that the client does not wait for.
const timedOut = "time-out"

// fails runs a fault and compares the kind of error and, unless it is 0, the number of requests for the TCB info.
func fails(t *testing.T, name string, kind pccs.ErrorKind, requests int, fault func(nth int, a *sgxsim.Answer)) {
	t.Run(name, func(t *testing.T) {
		s := newService(t, func(path string, nth int, a *sgxsim.Answer) {
			if path == "tcb" {
				fault(nth, a)
			}
		})
		if name == timedOut {
			s.timeout = 100 * time.Millisecond
		}
		_, err := s.fetch()
		var e *pccs.Error
		if !errors.As(err, &e) || e.Kind != kind {
			t.Fatalf("error %v, want kind %s", err, kind)
		}
		if got := s.count("tcb"); got != requests && requests > 0 {
			t.Errorf("%d requests, want %d", got, requests)
		}
	})
}

func serviceRows() []row {
	status := func(code int) func(int, *sgxsim.Answer) {
		return func(_ int, a *sgxsim.Answer) { a.Status, a.Body = code, nil }
	}
	return []row{
		{id: 202, run: func(t *testing.T) {
			fails(t, "404", pccs.NotFound, 1, status(404))
			s := newService(t, func(path string, _ int, a *sgxsim.Answer) {
				if path == "tcb" {
					a.Status, a.Body = 410, nil
				}
			})
			if _, err := s.fetch(); err == nil || s.count("tcb") != 1 {
				t.Errorf("410: %v after %d requests", err, s.count("tcb"))
			}
		}},
		{id: 203, run: func(t *testing.T) {
			for _, code := range []int{429, 500, 503} {
				fails(t, http.StatusText(code), pccs.Unreachable, 2, status(code))
			}
			fails(t, timedOut, pccs.Unreachable, 2, func(_ int, a *sgxsim.Answer) { a.Delay = time.Hour })
			// net/http itself asks again when a connection that it had kept is lost.
			fails(t, "connection lost", pccs.Unreachable, 0, func(_ int, a *sgxsim.Answer) { a.Abort = true })
			t.Run("well again", func(t *testing.T) {
				s := newService(t, func(path string, nth int, a *sgxsim.Answer) {
					if nth == 1 {
						a.Status = 503
					}
				})
				if _, err := s.fetch(); err != nil {
					t.Error(err)
				}
			})
		}},
		{id: 204, run: func(t *testing.T) {
			fails(t, "empty body", pccs.Malformed, 1, func(_ int, a *sgxsim.Answer) { a.Body = nil })
			fails(t, "no chain header", pccs.Malformed, 1, func(_ int, a *sgxsim.Answer) { a.Header.Del("TCB-Info-Issuer-Chain") })
			fails(t, "HTML", pccs.Malformed, 1, func(_ int, a *sgxsim.Answer) { a.Body = []byte("<html>log in</html>") })
			fails(t, "too large", pccs.Malformed, 1, func(_ int, a *sgxsim.Answer) { a.Body = bytes.Repeat([]byte(" "), 8<<20) })
		}},
		{id: 205, run: plusInHeader},
		{id: 206, run: func(t *testing.T) {
			for name, encode := range map[string]func([]byte) []byte{
				"hex":          func(b []byte) []byte { return []byte(hex.EncodeToString(b)) },
				"upper case":   func(b []byte) []byte { return []byte(strings.ToUpper(hex.EncodeToString(b))) },
				"with LF":      func(b []byte) []byte { return []byte(hex.EncodeToString(b) + "\n") },
				"with CRLF":    func(b []byte) []byte { return []byte(hex.EncodeToString(b) + "\r\n") },
				"DER":          func(b []byte) []byte { return b },
				"PEM":          func(b []byte) []byte { return pemOf("X509 CRL", b) },
				"PEM and CRLF": func(b []byte) []byte { return crlf(pemOf("X509 CRL", b)) },
			} {
				t.Run(name, func(t *testing.T) {
					s := newService(t, func(path string, _ int, a *sgxsim.Answer) {
						if path == "rootcacrl" || path == "pckcrl" {
							a.Body = encode(derOf(t, a.Body))
						}
					})
					if _, err := s.fetch(); err != nil {
						t.Error(err)
					}
				})
			}
		}},
		{id: 207, attempts: []attempt{
			{name: "accepted while it is valid", want: "ok", make: replayed},
			{name: "until a number is asked for", want: "policy/tcb_evaluation_data_number", make: func(l *lab) {
				replayed(l)
				l.policy = acceptAll(l)
				l.policy.MinEvaluationNumber = 17
			}},
			{name: "or an age", want: "policy/collateral_age", make: func(l *lab) {
				replayed(l)
				l.policy = acceptAll(l)
				l.policy.MaxCollateralAge = 7 * 24 * time.Hour
			}},
		}},
		{id: 208, run: func(t *testing.T) {
			// The client has one option where the service has two arguments, so that both cannot be given; a number in
			// the place of the word is refused before anything is asked.
			s := newService(t, nil)
			for _, update := range []pccs.Update{"17", "early&tcbEvaluationDataNumber=17", "Early"} {
				if _, err := pccs.NewClient(pccs.ClientOptions{URL: s.url, Update: update}); err == nil || !strings.Contains(err.Error(), "update is") {
					t.Errorf("update %q: %v", update, err)
				}
			}
			if s.count("tcb") != 0 {
				t.Error("a request was made")
			}
		}},
	}
}

// replayed is a set that was issued 20 days ago under an older number.
func replayed(l *lab) {
	issued := labTime.AddDate(0, 0, -20)
	l.tcbInfo(func(t *sgxsim.TCBInfo) { t.EvaluationNumber, t.IssueDate = 16, issued })
	l.qeIdentity(func(q *sgxsim.QEIdentity) { q.EvaluationNumber, q.IssueDate = 16, issued })
}

// derOf undoes whatever encoding the simulated service has chosen for a CRL.
func derOf(t *testing.T, body []byte) []byte {
	if block, _ := pem.Decode(body); block != nil {
		return block.Bytes
	}
	if len(body) > 0 && body[0] == 0x30 {
		return body
	}
	der, err := hex.DecodeString(strings.TrimSpace(string(body)))
	if err != nil {
		t.Errorf("the service's CRL: %v", err)
	}
	return der
}

// plusInHeader leaves the plus signs of base64 as they are in the chain's header.
func plusInHeader(t *testing.T) {
	plus := 0
	for range 20 { // a chain without a plus sign is rare, but there is one now and then
		s := newService(t, func(path string, _ int, a *sgxsim.Answer) {
			if path == "tcb" {
				chain := a.Header.Get("TCB-Info-Issuer-Chain")
				plain, err := url.PathUnescape(chain)
				if err != nil {
					t.Error(err)
				}
				plus += strings.Count(plain, "+")
				a.Header.Set("TCB-Info-Issuer-Chain", strings.ReplaceAll(url.PathEscape(plain), "%2B", "+"))
			}
		})
		if _, err := s.fetch(); err != nil {
			t.Fatal(err)
		}
		if plus > 0 {
			return
		}
	}
	t.Error("no chain had a plus sign")
}
