package doccheck

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/doctor"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

const troubleshooting = "docs/guides/troubleshooting.md"

// row is a message and its line in the guide.
type row struct {
	name string
	line int
}

type rows []row

func (rs rows) has(name string) bool {
	return slices.ContainsFunc(rs, func(r row) bool { return r.name == name })
}

// table reads the tables below a heading of the guide, up to the next heading that is not below it. A first cell may hold several
// messages, with <br> between them; every cell behind it must say something.
func table(t *testing.T, title string) rows {
	t.Helper()
	d := parsed(t, troubleshooting)
	var all rows
	level := 0
	d.prose(func(n int, line string) {
		if m := heading.FindStringSubmatch(line); m != nil {
			depth := len(line) - len(strings.TrimLeft(line, "#"))
			switch {
			case m[1] == title:
				level = depth
			case level > 0 && depth <= level:
				level = -1
			}
			return
		}
		if level <= 0 || !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			return
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, cell := range cells {
			if cells[i] = strings.TrimSpace(cell); cells[i] == "" {
				t.Errorf("%s:%d: the cell in column %d is empty", troubleshooting, n, i+1)
			}
		}
		if len(cells) < 2 {
			t.Errorf("%s:%d: the row explains nothing", troubleshooting, n)
		}
		if d.lines[n] != "" && strings.HasPrefix(d.lines[n], "|---") { // d.lines[n] is the next line
			return // the table's head
		}
		for _, name := range strings.Split(cells[0], "<br>") {
			name = strings.Trim(strings.TrimSpace(name), "`")
			if all.has(name) {
				t.Errorf("%s:%d: %q is there twice", troubleshooting, n, name)
			}
			all = append(all, row{name, n})
		}
	})
	if len(all) == 0 {
		t.Fatalf("%s has no table below %q", troubleshooting, title)
	}
	return all
}

// same compares what the code says with what a table explains.
func same(t *testing.T, title string, said []string) {
	t.Helper()
	explained := table(t, title)
	for _, name := range said {
		if !explained.has(name) {
			t.Errorf("%s does not explain %q below %q", troubleshooting, name, title)
		}
	}
	for _, r := range explained {
		if !slices.Contains(said, r.name) {
			t.Errorf("%s:%d: nothing says %q", troubleshooting, r.line, r.name)
		}
	}
	t.Logf("%d below %q", len(said), title)
}

// kinds lists the names of an enumeration that begins at first and ends where its String has a number only.
func kinds[K interface {
	~uint8
	fmt.Stringer
}](t *testing.T, prefix string) []string {
	t.Helper()
	var all []string
	for k := K(1); k < 200; k++ {
		if strings.Contains(k.String(), strconv.Itoa(int(k))) {
			break
		}
		all = append(all, prefix+k.String())
	}
	if len(all) < 3 {
		t.Fatalf("%T has only %q", *new(K), all)
	}
	return all
}

// constants are the values of the constants of a type in a package.
func constants(t *testing.T, pkg, typeName string) []string {
	t.Helper()
	var all []string
	for _, f := range sources(t, token.NewFileSet(), pkg) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Type == nil || !isIdent(spec.Type, typeName) {
				return true
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						all = append(all, text)
					}
				}
			}
			return true
		})
	}
	if len(all) < 3 {
		t.Fatalf("%s of %s has only %q", typeName, pkg, all)
	}
	return all
}

// keys are those of a map that is written out in a package.
func keys(t *testing.T, pkg, name string) []string {
	t.Helper()
	var all []string
	for _, f := range sources(t, token.NewFileSet(), pkg) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Names[0].Name != name || len(spec.Values) != 1 {
				return true
			}
			literal, ok := spec.Values[0].(*ast.CompositeLit)
			if !ok {
				return true
			}
			for _, element := range literal.Elts {
				if kv, ok := element.(*ast.KeyValueExpr); ok {
					if lit, ok := kv.Key.(*ast.BasicLit); ok {
						if text, err := strconv.Unquote(lit.Value); err == nil {
							all = append(all, text)
						}
					}
				}
			}
			return true
		})
	}
	if len(all) < 10 {
		t.Fatalf("%s of %s has only %q", name, pkg, all)
	}
	return all
}

// TestEveryRefusalIsExplained: the checks of a rule, the steps of the verification, and the reasons why a certificate is no
// evidence.
func TestEveryRefusalIsExplained(t *testing.T) {
	same(t, "Checks of a rule", checks(t))
	stages := constants(t, "internal/sgxcrypto/dcap", "Stage")
	stages = slices.DeleteFunc(stages, func(s string) bool { return s == string(dcap.StagePolicy) }) // its checks are the rule's
	same(t, "Steps of the verification", stages)
	same(t, "Reasons of a step", constants(t, "internal/sgxcrypto/dcap", "Reason"))
	same(t, "Certificates that are no evidence", kinds[ratls.Kind](t, "certificate/"))
}

// checks asks a rule with every condition there is.
func checks(t *testing.T) []string {
	t.Helper()
	config := complete(read(t, "testdata/server.yaml"), fmt.Sprintf(`
rules:
  - name: all
    mr_enclave: [%[1]s]
    mr_signer: [%[1]s]
    isv_prod_id: 1
    min_isv_svn: 1
    server_name: [a.example.com]
    config_id: %[1]s%[1]s
    min_config_svn: 1
    isv_ext_prod_id: %[2]s
    isv_family_id: %[2]s
    attributes: { flags: 1, flags_mask: 1 }
    misc_select: { value: 1, mask: 1 }
    tcb: { accept: [UpToDate], min_evaluation_number: 1, fmspc: [00606A000000] }
    secret: resnet50
`, strings.Repeat("1f", 32), strings.Repeat("1f", 16)))
	cfg, err := keyserver.ParseConfig([]byte(config), "/etc/cc-keyserver")
	if err != nil {
		t.Fatal(err)
	}
	rs, err := keyserver.NewRules(cfg)
	if err != nil {
		t.Fatal(err)
	}
	decision := rs.Explain(&dcap.Verdict{}, "")
	var all []string
	for _, f := range decision.Results[0].Findings {
		all = append(all, f.Check)
	}
	if len(all) < 20 || decision.Released {
		t.Fatalf("checks %q", all)
	}
	return all
}

func TestEveryKindOfErrorIsExplained(t *testing.T) {
	same(t, "TLS files", constants(t, "internal/serving/tlsmaterials", "Problem"))
	same(t, "Codes of Alibaba Cloud", keys(t, "internal/ecs", "advice"))
	same(t, "Protected files", kinds[protectedfile.Kind](t, ""))
	same(t, "Quotes that do not parse", kinds[quote.Kind](t, ""))
	same(t, "Collateral", kinds[pccs.ErrorKind](t, ""))
	var names []string
	for _, c := range doctor.Installation(doctor.Options{}) {
		names = append(names, c.Name)
	}
	// Findings with a name of their own, where a check looks at several things.
	for _, f := range sources(t, token.NewFileSet(), "internal/doctor") {
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && callee(c) == "named" {
				if lit, ok := c.Args[0].(*ast.BasicLit); ok {
					if text, err := strconv.Unquote(lit.Value); err == nil && !slices.Contains(names, text) {
						names = append(names, text)
					}
				}
			}
			return true
		})
	}
	same(t, "Checks of the doctor", names)
}

// TestEveryLogMessageIsExplained: what the key server says at level WARN and ERROR.
func TestEveryLogMessageIsExplained(t *testing.T) {
	var said []string
	packages := []string{"internal/keyserver", "internal/keyserver/earlytcb", "internal/keyserver/console", "internal/keyserver/audit", "internal/keyserver/admission"}
	for _, f := range sources(t, token.NewFileSet(), packages...) {
		ast.Inspect(f, func(n ast.Node) bool {
			if text, ok := warning(n); ok && !slices.Contains(said, text) {
				said = append(said, text)
			}
			return true
		})
	}
	// Those of a connection, which have their level and text from what became of it.
	said = append(said, "refused", "no secret sent", "connection closed to make room for newer ones")
	for _, text := range said[len(said)-3:] {
		if !slices.ContainsFunc(constantsIn(t, "internal/keyserver"), func(s string) bool { return s == text }) {
			t.Errorf("the key server does not say %q any more", text)
		}
	}
	if len(said) < 12 {
		t.Fatalf("only %q", said)
	}
	same(t, "Lines of the key server's log", said)
}

// warning is the text of a call of a logger.
func warning(n ast.Node) (string, bool) {
	c, ok := n.(*ast.CallExpr)
	if !ok || len(c.Args) == 0 {
		return "", false
	}
	method, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || (method.Sel.Name != "Warn" && method.Sel.Name != "Error") {
		return "", false
	}
	arg := c.Args[0]
	if sum, ok := arg.(*ast.BinaryExpr); ok { // "text: " + what
		arg = sum.X
	}
	lit, ok := arg.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return strings.TrimSuffix(strings.TrimSpace(text), ":"), err == nil
}

func constantsIn(t *testing.T, pkg string) []string {
	t.Helper()
	var all []string
	for _, f := range sources(t, token.NewFileSet(), pkg) {
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					all = append(all, text)
				}
			}
			return true
		})
	}
	return all
}

// TestExitCodes: the guide has the codes that ccctl ends with.
func TestExitCodes(t *testing.T) {
	var codes []string
	for _, f := range sources(t, token.NewFileSet(), "cmd/ccctl") {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !regexp.MustCompile(`^exit[A-Z][A-Za-z]*$`).MatchString(spec.Names[0].Name) || len(spec.Values) != 1 {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.INT {
				codes = append(codes, lit.Value)
			}
			return true
		})
	}
	same(t, "Exit codes of ccctl", codes)
}
