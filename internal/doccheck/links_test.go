package doccheck

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	// A link [text](target), [text](target "title"), ![image](target); text may have one level of brackets.
	inlineLink = regexp.MustCompile(`\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s>]+(?:\([^()]*\)[^()\s>]*)*)>?(?:\s+"[^"]*")?\s*\)`)
	// A definition, [label]: target.
	linkDefinition = regexp.MustCompile(`^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s+"[^"]*")?\s*$`)
	// Such as <https://...>, and bare ones.
	bareURL    = regexp.MustCompile(`https?://[^\s<>()"'|` + "`" + `]+`)
	codeSpan   = regexp.MustCompile("`[^`]*`")
	htmlAnchor = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	heading    = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
)

// link is a target and where it is written.
type link struct {
	line   int
	target string
}

func (d *document) links() []link {
	var all []link
	d.prose(func(n int, line string) {
		line = codeSpan.ReplaceAllString(line, "``")
		for _, m := range inlineLink.FindAllStringSubmatch(line, -1) {
			all = append(all, link{n, m[1]})
		}
		if m := linkDefinition.FindStringSubmatch(line); m != nil {
			all = append(all, link{n, m[1]})
		}
		for _, m := range bareURL.FindAllString(line, -1) {
			all = append(all, link{n, strings.TrimRight(m, ".,;:")})
		}
	})
	return all
}

// anchors are the fragments that GitHub and the registry make of the headings: lower case, spaces as hyphens, punctuation gone;
// a second one of the same text has -1 behind it.
func (d *document) anchors() map[string]bool {
	all := map[string]bool{}
	d.prose(func(_ int, line string) {
		for _, m := range htmlAnchor.FindAllStringSubmatch(line, -1) {
			all[m[1]] = true
		}
		m := heading.FindStringSubmatch(line)
		if m == nil {
			return
		}
		anchor := slug(m[1])
		for n, base := 1, anchor; all[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", base, n)
		}
		all[anchor] = true
	})
	return all
}

func slug(text string) string {
	if m := regexp.MustCompile(`^\[([^\]]*)\]\([^)]*\)$`).FindStringSubmatch(text); m != nil {
		text = m[1]
	}
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// problem says what is wrong with a link; empty for nothing.
func (l link) problem(from *document, all map[string]*document) string {
	u, err := url.Parse(l.target)
	if err != nil {
		return err.Error()
	}
	switch u.Scheme {
	case "http", "https":
		if !strings.Contains(u.Hostname(), ".") {
			return "it has no host name"
		}
		return ""
	case "mailto":
		return ""
	case "":
	default:
		return "its scheme is " + u.Scheme
	}
	if u.Host != "" || strings.HasPrefix(u.Path, "/") {
		return "it is not relative"
	}
	to := from
	if u.Path != "" {
		name := path.Join(path.Dir(from.path), u.Path)
		if strings.HasPrefix(name, "../") {
			return "it leads out of the repository"
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil {
			return "there is no " + name
		}
		to = all[name]
	}
	if u.Fragment == "" {
		return ""
	}
	if to == nil {
		return "it has an anchor and leads to no document"
	}
	if !to.anchors()[u.Fragment] {
		return to.path + " has no heading of the anchor #" + u.Fragment
	}
	return ""
}

func TestLinks(t *testing.T) {
	all := map[string]*document{}
	for _, d := range documents(t) {
		all[d.path] = d
	}
	relative, absolute := 0, 0
	for _, d := range all {
		for _, l := range d.links() {
			if strings.Contains(l.target, "://") {
				absolute++
			} else {
				relative++
			}
			if problem := l.problem(d, all); problem != "" {
				t.Errorf("%s:%d: link %s: %s", d.path, l.line, l.target, problem)
			}
		}
	}
	if relative < 20 || absolute < 3 {
		t.Errorf("only %d relative and %d absolute links were found", relative, absolute)
	}
}

// TestLinkProblems sees each fault once: a checker that finds none would pass above.
func TestLinkProblems(t *testing.T) {
	guide := parseDocument("docs/guides/x.md", []byte("# The `x` guide, *new*\n\n## Same\n\n## Same\n\n```\n# not a heading [a](b)\n```\n<a id=\"here\"></a>\n"))
	readme := parseDocument("README.md", []byte("[a](docs/guides/x.md)\n"))
	all := map[string]*document{guide.path: guide, readme.path: readme}
	for target, want := range map[string]string{
		"#same":                          "",
		"#same-1":                        "",
		"#the-x-guide-new":               "",
		"#here":                          "",
		"#not-a-heading-ab":              "docs/guides/x.md has no heading of the anchor #not-a-heading-ab",
		"../index.md":                    "",
		"../resources":                   "",
		"../indexx.md":                   "there is no docs/indexx.md",
		"../../../outside.md":            "it leads out of the repository",
		"/docs/index.md":                 "it is not relative",
		"//example.com/x":                "it is not relative",
		"../../go.mod#x":                 "it has an anchor and leads to no document",
		"../../README.md#none":           "README.md has no heading of the anchor #none",
		"https://example.com/a#b":        "",
		"https://localhost/":             "it has no host name",
		"ftp://example.com/":             "its scheme is ftp",
		"https://example.com/%zz":        `parse "https://example.com/%zz": invalid URL escape "%zz"`,
		"mailto:security@example.com":    "",
		"../../internal/doccheck/doc.go": "",
	} {
		if got := (link{1, target}).problem(guide, all); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	found := parseDocument("a.md", []byte("[one](a b) [two](x.md#y \"title\") `[code](no.md)` ![i](i.png) see https://example.com/x.\n[ref]: y.md\n")).links()
	var targets []string
	for _, l := range found {
		targets = append(targets, l.target)
	}
	if got := strings.Join(targets, " "); got != "x.md#y i.png https://example.com/x y.md" {
		t.Errorf("found %q", got)
	}
}
