package console

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the page
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

// contentSecurityPolicy allows the page its own style and nothing else: no script, no other host.
var contentSecurityPolicy = func() string {
	sum := sha256.Sum256([]byte(styleText))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":   func() template.CSS { return template.CSS(styleText) }, //nolint:gosec // It is part of this program.
	"clock":   clock,
	"short":   short,
	"words":   func(list []string) string { return strings.Join(list, ", ") },
	"verdict": func(v string) string { return strings.ReplaceAll(v, "_", " ") },
}).Parse(pageText))

// view is what the template sees.
type view struct {
	*Status

	Refresh uint64
}

// Limits of ?refresh in seconds: below, it would be load; the page itself says which there are.
const (
	minRefresh = 5
	maxRefresh = 3600
)

func (c *console) page(w http.ResponseWriter, r *http.Request) {
	refresh, err := number(r, "refresh", 0)
	if err == nil && refresh != 0 && (refresh < minRefresh || refresh > maxRefresh) {
		err = fmt.Errorf("read refresh: %d is not between %d and %d seconds", refresh, minRefresh, maxRefresh)
	}
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	var page bytes.Buffer // whole or not at all
	if err := pageTemplate.Execute(&page, view{c.snapshot(keep), refresh}); err != nil {
		answer(w, http.StatusInternalServerError, "render page: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes())
}

// clock is a time with how long ago it was, or until it is.
func clock(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	text := at.UTC().Format("2006-01-02 15:04:05Z")
	switch d := at.Sub(now); {
	case d >= time.Second:
		return text + " (in " + Span(d) + ")"
	case d <= -time.Second:
		return text + " (" + Span(-d) + " ago)"
	default:
		return text
	}
}

// Span is a duration in the largest unit of which there are at least two.
func Span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	}
}

// short is the beginning of a digest.
func short(s string) string {
	if len(s) > 16 {
		return s[:16] + "…"
	}
	return s
}
