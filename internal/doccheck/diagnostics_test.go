package doccheck

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// summaries finds what the summaries of diagnostics can be, from the source alone: the constants that reach the calls which
// make a diagnostic, through variables, parameters and results of functions.
type summaries struct {
	functions map[string][]*ast.FuncDecl
	packages  map[*ast.FuncDecl]string
	calls     map[string][]call
	consts    map[string]ast.Expr
	found     map[string]string // summary: where it is made
	unknown   []string          // expressions that are beyond this
	fset      *token.FileSet
}

// call is a call and the function that it is in.
type call struct {
	expr *ast.CallExpr
	in   *ast.FuncDecl
}

// makers are the calls that make a diagnostic, with the argument that is its summary.
var makers = map[string]int{
	"AddError": 0, "AddWarning": 0, "AddAttributeError": 1, "AddAttributeWarning": 1,
	"NewErrorDiagnostic": 0, "NewWarningDiagnostic": 0, "NewAttributeErrorDiagnostic": 1, "NewAttributeWarningDiagnostic": 1,
}

// ofTheFramework are summaries that the framework gives to what validators of the provider find.
var ofTheFramework = map[string]string{"InvalidAttributeValueDiagnostic": "Invalid Attribute Value"}

// open are summaries whose end is known at run time only, and what it can be. "intact" gives no diagnostic.
var open = map[string][]string{
	"Encrypted file ": {"missing", "altered", "unreadable"},
	"SavedModel ":     {"missing", "altered", "unreadable"},
}

func findSummaries(fset *token.FileSet, files []*ast.File) *summaries {
	s := &summaries{functions: map[string][]*ast.FuncDecl{}, packages: map[*ast.FuncDecl]string{}, calls: map[string][]call{}, consts: map[string]ast.Expr{}, found: map[string]string{}, fset: fset}
	for _, f := range files {
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				s.functions[decl.Name.Name] = append(s.functions[decl.Name.Name], decl)
				s.packages[decl] = f.Name.Name
				ast.Inspect(decl, func(n ast.Node) bool {
					if c, ok := n.(*ast.CallExpr); ok {
						s.calls[callee(c)] = append(s.calls[callee(c)], call{c, decl})
					}
					return true
				})
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						for i, name := range v.Names {
							if i < len(v.Values) {
								s.consts[name.Name] = v.Values[i]
							}
						}
					}
				}
			}
		}
	}
	for name, calls := range s.calls {
		for _, c := range calls {
			if i, ok := makers[name]; ok && i < len(c.expr.Args) {
				s.take(c.expr.Args[i], c.in)
			}
			if text, ok := ofTheFramework[name]; ok {
				s.found[text] = s.at(c.expr)
			}
		}
	}
	for _, functions := range s.functions {
		for _, f := range functions {
			s.ofErrors(f)
		}
	}
	return s
}

// ofErrors takes the field Summary of every error that brings one: Error{Summary: ...} and known.Summary = ...
func (s *summaries) ofErrors(f *ast.FuncDecl) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if typeName(n.Type) != "Error" {
				return true
			}
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && isIdent(kv.Key, "Summary") {
					s.take(kv.Value, f)
				}
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if sel, ok := left.(*ast.SelectorExpr); ok && sel.Sel.Name == "Summary" && len(n.Rhs) == len(n.Lhs) {
					s.take(n.Rhs[i], f)
				}
			}
		}
		return true
	})
}

// hole stands for what is not known before run time.
const hole = "\x00"

func (s *summaries) take(e ast.Expr, in *ast.FuncDecl) {
	for _, text := range s.values(e, in, map[string]bool{}) {
		prefix, rest, isOpen := strings.Cut(text, hole)
		switch {
		case text == "": // the error brings its own
		case !isOpen:
			s.found[text] = s.at(e)
		case rest == "" && open[prefix] != nil:
			for _, end := range open[prefix] {
				s.found[prefix+end] = s.at(e)
			}
		default:
			s.unknown = append(s.unknown, fmt.Sprintf("%s: %q", s.at(e), strings.ReplaceAll(text, hole, "...")))
		}
	}
}

func (s *summaries) at(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", filepath.ToSlash(p.Filename), p.Line)
}

// mayBe tells whether a call can be of that function: a bare name is a function of the same package, one behind a dot is a
// method or another package's function.
func (s *summaries) mayBe(c call, f *ast.FuncDecl) bool {
	if callee(c.expr) != f.Name.Name {
		return false
	}
	same := s.packages[c.in] == s.packages[f]
	if _, bare := c.expr.Fun.(*ast.Ident); bare {
		return same && f.Recv == nil
	}
	return f.Recv != nil || !same
}

// called are the functions that a call can be of.
func (s *summaries) called(c call) []*ast.FuncDecl {
	var all []*ast.FuncDecl
	for _, f := range s.functions[callee(c.expr)] {
		if s.mayBe(c, f) {
			all = append(all, f)
		}
	}
	return all
}

// values are what an expression in a function can be.
func (s *summaries) values(e ast.Expr, in *ast.FuncDecl, seen map[string]bool) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return []string{text}
		}
	case *ast.ParenExpr:
		return s.values(e.X, in, seen)
	case *ast.BinaryExpr:
		var all []string
		for _, left := range s.values(e.X, in, seen) {
			for _, right := range s.values(e.Y, in, seen) {
				all = append(all, left+right)
			}
		}
		return all
	case *ast.Ident:
		return s.ofName(e, in, seen)
	case *ast.SelectorExpr:
		if e.Sel.Name == "Summary" { // of an error: taken where the error is made
			return nil
		}
		return s.ofField(e.Sel.Name, in, seen)
	case *ast.CallExpr:
		if functions := s.called(call{e, in}); len(functions) > 0 {
			return s.results(functions, 0, seen)
		}
	}
	return []string{hole}
}

// ofName follows a variable, constant or parameter.
func (s *summaries) ofName(name *ast.Ident, in *ast.FuncDecl, seen map[string]bool) []string {
	key := s.at(in) + " " + name.Name
	if seen[key] {
		return nil
	}
	seen[key] = true
	var all []string
	known := false
	if i := parameter(in, name.Name); i >= 0 {
		known = true
		for _, c := range s.calls[in.Name.Name] {
			if i < len(c.expr.Args) && s.mayBe(c, in) {
				all = append(all, s.values(c.expr.Args[i], c.in, seen)...)
			}
		}
	}
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if !isIdent(left, name.Name) {
					continue
				}
				known = true
				if len(n.Rhs) == len(n.Lhs) {
					all = append(all, s.values(n.Rhs[i], in, seen)...)
				} else if c, ok := n.Rhs[0].(*ast.CallExpr); ok {
					all = append(all, s.results(s.called(call{c, in}), i, seen)...)
				}
			}
		case *ast.ValueSpec:
			for i, left := range n.Names {
				if left.Name == name.Name && i < len(n.Values) {
					known = true
					all = append(all, s.values(n.Values[i], in, seen)...)
				}
			}
		}
		return true
	})
	if value, ok := s.consts[name.Name]; ok && !known {
		return s.values(value, in, seen)
	}
	if !known {
		return []string{hole}
	}
	return all
}

// ofField follows a field of the elements of a list that is written out in the function.
func (s *summaries) ofField(field string, in *ast.FuncDecl, seen map[string]bool) []string {
	var all []string
	ast.Inspect(in, func(n ast.Node) bool {
		list, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		array, ok := list.Type.(*ast.ArrayType)
		if !ok {
			return true
		}
		of, ok := array.Elt.(*ast.StructType)
		if !ok {
			return true
		}
		i := 0
		for _, f := range of.Fields.List {
			for _, name := range f.Names {
				if name.Name == field {
					for _, element := range list.Elts {
						if literal, ok := element.(*ast.CompositeLit); ok && i < len(literal.Elts) {
							all = append(all, s.values(literal.Elts[i], in, seen)...)
						}
					}
				}
				i++
			}
		}
		return true
	})
	if all == nil {
		return []string{hole}
	}
	return all
}

// results are what functions can return in a place.
func (s *summaries) results(functions []*ast.FuncDecl, i int, seen map[string]bool) []string {
	var all []string
	for _, f := range functions {
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if _, inner := n.(*ast.FuncLit); inner {
				return false
			}
			if r, ok := n.(*ast.ReturnStmt); ok && i < len(r.Results) {
				all = append(all, s.values(r.Results[i], f, seen)...)
			}
			return true
		})
	}
	return all
}

func parameter(f *ast.FuncDecl, name string) int {
	i := 0
	for _, field := range f.Type.Params.List {
		for _, n := range field.Names {
			if n.Name == name {
				return i
			}
			i++
		}
	}
	return -1
}

func callee(c *ast.CallExpr) string { return typeName(c.Fun) }

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func isIdent(e ast.Expr, name string) bool {
	i, ok := e.(*ast.Ident)
	return ok && i.Name == name
}

// sources parses the non-test files of packages.
func sources(t *testing.T, fset *token.FileSet, packages ...string) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, pkg := range packages {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		before := len(files)
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if len(files) == before {
			t.Fatalf("%s has no files", pkg)
		}
	}
	return files
}

// TestEveryDiagnosticIsExplained: the first column of the guide's tables has every summary, with its cause and its remedy
// behind it, and no other.
func TestEveryDiagnosticIsExplained(t *testing.T) {
	fset := token.NewFileSet()
	s := findSummaries(fset, sources(t, fset, "internal/resources", "internal/provider", "internal/deploy"))
	for _, u := range s.unknown {
		t.Errorf("the summary cannot be told before run time; make it a constant, or list what it can be in the table open: %s", u)
	}
	if len(s.found) < 80 {
		t.Fatalf("only %d summaries were found", len(s.found))
	}
	explained := table(t, "Diagnostics of the provider")
	for summary, where := range s.found {
		if !explained.has(summary) {
			t.Errorf("%s is not explained in %s: %q", where, troubleshooting, summary)
		}
	}
	for _, row := range explained {
		if s.found[row.name] == "" {
			t.Errorf("%s:%d: no code gives the diagnostic %q", troubleshooting, row.line, row.name)
		}
	}
	t.Logf("%d summaries", len(s.found))
}

// TestSummaries sees that constants are found through everything that the source does with them.
func TestSummaries(t *testing.T) {
	const source = `package p
const pkg = "Of the package"
func a(d *D, err error) {
	d.AddError("Plain", "x")
	d.AddAttributeWarning(at, "At"+" an attribute", "x")
	d.AddError(pkg, "x")
	add(d, "Through a parameter", err)
	add(d, "", &deploy.Error{Summary: "Of an error", Err: err})
	known := &Error{}
	known.Summary = "Assigned"
	summary, _ := pick(err)
	d.AddError(summary, "")
	for _, l := range []struct{ name, text string }{{"x", "Of a list"}} {
		d.AddWarning(l.text, "")
	}
	kinds("Instance")
	d.AddError("Encrypted file "+m.Condition.ValueString(), "")
	d.AddError(fmt.Sprintf("%s", x), "")
	other.AddAttributeError(at, validatordiag.InvalidAttributeValueDiagnostic(at, "a", "b"))
}
func add(d *D, summary string, err error) { s, t := describe(summary, err); d.Append(diag.NewErrorDiagnostic(s, t)) }
func describe(summary string, err error) (string, string) {
	if known != nil { summary = known.Summary }
	return summary, ""
}
func pick(err error) (string, int) {
	if err == nil { return "Returned", 1 }
	return "Or this", 2
}
func (x T) describe(summary string) string { return "Of a method of the same name" }
func kinds(kind string) error { return &Error{Summary: kind + " lost"} }
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	s := findSummaries(fset, []*ast.File{f})
	want := []string{
		"Assigned", "At an attribute", "Encrypted file altered", "Encrypted file missing", "Encrypted file unreadable", "Instance lost", "Invalid Attribute Value",
		"Of a list", "Of an error", "Of the package", "Or this", "Plain", "Returned", "Through a parameter",
	}
	var got []string
	for summary := range s.found {
		got = append(got, summary)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("found %q\nwant  %q", got, want)
	}
	// The Sprintf, and the last call's second argument.
	if len(s.unknown) != 2 || !strings.HasPrefix(s.unknown[0], "p.go:") {
		t.Errorf("unknown %q", s.unknown)
	}
}
