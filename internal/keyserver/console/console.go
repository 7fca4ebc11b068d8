package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are what a console shows. All of Ready, Metrics, Status and Recent are required.
type Options struct {
	// Ready says why enclaves are not served, or nil.
	Ready func() error
	// Metrics writes Prometheus' text format.
	Metrics func(io.Writer) error
	// Status is the state of the server now, without Decisions.
	Status func() *Status
	// Recent are its decisions.
	Recent *Recent
	// Started is when the server was started; it tells the numbers of its decisions from those of another run.
	Started time.Time
	// Names are host names by which clients may call the listener, beside those of the loopback; nil is none.
	Names func() []string
}

// Page is the answer to a request for decisions.
type Page struct {
	// Started tells servers apart: the numbers of decisions are those of one run.
	Started   time.Time  `json:"started"`
	Decisions []Decision `json:"decisions"` // oldest first
	Last      uint64     `json:"last"`      // to be asked for after, next time
	// Missed counts decisions in between that are not remembered any more.
	Missed uint64 `json:"missed"`
}

// maxWait is how long a request waits for a decision, in seconds.
const maxWait = 20

// Handler answers requests.
func Handler(opts Options) http.Handler {
	c := &console{Options: opts}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	mux.HandleFunc("GET /status", c.status)
	mux.HandleFunc("GET /decisions", c.decisions)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := opts.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = opts.Metrics(w) // fails when the client has gone
	})
	return harden(c.checkHost(mux))
}

type console struct{ Options }

// harden sets what every answer says to a browser.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses requests that name a host which is not meant.
func (c *console) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.meant(r) {
			answer(w, http.StatusMisdirectedRequest, "this listener is for localhost, for its own address, and for the names in admin.server_names")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *console) meant(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		// No name has been resolved here, so none can have been rebound.
		if addr = addr.Unmap(); addr.IsLoopback() {
			return true
		}
		local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if ok && addr == local.AddrPort().Addr().Unmap().WithZone("") {
			return true
		}
	}
	return c.Names != nil && host != "" && slices.ContainsFunc(c.Names(), func(name string) bool {
		return host == strings.ToLower(strings.TrimSuffix(name, "."))
	})
}

func (c *console) snapshot(decisions uint64) *Status {
	s := c.Status()
	recent, _ := c.Recent.After(0)
	slices.Reverse(recent)
	if uint64(len(recent)) > decisions {
		recent = recent[:decisions]
	}
	s.Decisions = recent
	return s
}

func (c *console) status(w http.ResponseWriter, r *http.Request) {
	n, err := number(r, "decisions", math.MaxUint64)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	answerJSON(w, c.snapshot(n))
}

// decisions waits, if it is asked to, until there is one.
func (c *console) decisions(w http.ResponseWriter, r *http.Request) {
	after, aerr := number(r, "after", 0)
	seconds, werr := number(r, "wait", 0)
	if err := errors.Join(aerr, werr); err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	if of := r.URL.Query().Get("started"); of != "" && of != c.Started.Format(time.RFC3339Nano) {
		after = 0 // the client knows a former run of the server
	}
	if wait := time.Duration(min(seconds, maxWait)) * time.Second; wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		c.Recent.Wait(ctx, after)
		cancel()
	}
	page := Page{Started: c.Started}
	page.Decisions, page.Last = c.Recent.After(after)
	if all := page.Last - min(page.Last, after); all > uint64(len(page.Decisions)) {
		page.Missed = all - uint64(len(page.Decisions))
	}
	answerJSON(w, page)
}

// number reads a number of the query.
func number(r *http.Request, name string, otherwise uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("read %s: it is not a number from 0 on", name)
	}
	return n, nil
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) //nolint:gosec // It is plain text, and browsers are told not to guess otherwise.
}

func answerJSON(w http.ResponseWriter, v any) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		answer(w, http.StatusInternalServerError, "encode answer: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(raw, '\n'))
}
