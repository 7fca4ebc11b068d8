package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
}

// packages lists the module's own packages, for the platforms we release for.
func packages(t *testing.T) []goPackage {
	t.Helper()
	byPath := map[string]goPackage{}
	for _, goos := range []string{"linux", "windows"} {
		cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports", "./...")
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		for _, p := range list(t, cmd) {
			if old, ok := byPath[p.ImportPath]; ok {
				p.Imports = append(p.Imports, old.Imports...)
				p.GoFiles = append(p.GoFiles, old.GoFiles...)
				slices.Sort(p.GoFiles)
				p.GoFiles = slices.Compact(p.GoFiles)
			}
			byPath[p.ImportPath] = p
		}
	}
	var all []goPackage
	for _, p := range byPath {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b goPackage) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	if len(all) < 3 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

func list(t *testing.T, cmd *exec.Cmd) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	var all []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// relative is the path of a package below the module, "." for its root.
func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // only tests, which may import what they like
		}
		name := relative(p.ImportPath)
		allowed, ok := table[name]
		if !ok {
			t.Errorf("package %s is not in the import table: decide what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			switch {
			case imp == module || strings.HasPrefix(imp, module+"/"):
				if !matchesTree(relative(imp), allowed.ours) {
					t.Errorf("%s imports %s, which the import table does not allow", name, relative(imp))
				}
			case !strings.Contains(strings.SplitN(imp, "/", 2)[0], "."): // standard library
			default:
				if !matchesPrefix(imp, allowed.thirdParty) {
					t.Errorf("%s imports %s, which the import table does not allow", name, imp)
				}
			}
		}
	}
}

func matchesTree(name string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		if tree, ok := strings.CutSuffix(a, "/..."); ok {
			return strings.HasPrefix(name, tree+"/")
		}
		return name == a
	})
}

func matchesPrefix(path string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return path == a || strings.HasPrefix(path, a+"/")
	})
}

// TestMatchers keeps the two matchers honest: a table that matches everything
// would pass too.
func TestMatchers(t *testing.T) {
	if matchesTree("internal/sim/sgxsim", []string{"internal/sgxcrypto/...", "internal/sim"}) {
		t.Error("internal/sim/sgxsim matches internal/sim")
	}
	if !matchesTree("internal/sgxcrypto/quote", []string{"internal/sgxcrypto/..."}) {
		t.Error("internal/sgxcrypto/quote does not match its tree")
	}
	if matchesPrefix("github.com/hashicorp/terraform-plugin-testing/x", []string{"github.com/hashicorp/terraform-plugin"}) {
		t.Error("a module prefix matches another module")
	}
}

func TestReleaseBinariesLinkNoTestCode(t *testing.T) {
	for pkg, forbidden := range binaries {
		cmd := exec.Command("go", "list", "-deps", "-json=ImportPath", pkg)
		cmd.Dir = "../.."
		deps := list(t, cmd)
		if len(deps) < 20 {
			t.Fatalf("%s: only %d dependencies listed", pkg, len(deps))
		}
		for _, d := range deps {
			if matchesPrefix(d.ImportPath, forbidden) {
				t.Errorf("%s links %s", pkg, d.ImportPath)
			}
		}
	}
}

func TestFileSizes(t *testing.T) {
	for _, p := range packages(t) {
		name := relative(p.ImportPath)
		if len(p.GoFiles) > maxFilesPerPkg && !slices.Contains(manyFiles, name) {
			t.Errorf("%s has %d files, more than %d: split it by what it does", name, len(p.GoFiles), maxFilesPerPkg)
		}
		for _, f := range p.GoFiles {
			data, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			limit := maxFileLines
			if strings.HasSuffix(f, "_resource.go") {
				limit = maxResourceLines
			}
			if n := bytes.Count(data, []byte("\n")); n > limit {
				t.Errorf("%s/%s has %d lines, more than %d", name, f, n, limit)
			}
		}
	}
}

func TestEveryPackageHasAManual(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("package %s has no package comment", relative(p.ImportPath))
		}
	}
}

func TestFormatsArePure(t *testing.T) {
	checked := 0
	for _, p := range packages(t) {
		name := relative(p.ImportPath)
		if !slices.ContainsFunc(pure, func(tree string) bool { return strings.HasPrefix(name+"/", strings.TrimSuffix(tree, "/")+"/") }) {
			continue
		}
		for _, f := range p.GoFiles {
			checked++
			for _, use := range impureUses(t, filepath.Join(p.Dir, f)) {
				t.Errorf("%s/%s uses %s: take it as a parameter", name, f, use)
			}
		}
	}
	if checked == 0 {
		t.Fatal("no format package was found")
	}
}

func impureUses(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var uses []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok || id.Obj != nil { // a local variable of that name is not the package
			return true
		}
		if names, ok := impure[id.Name]; ok && (names == nil || slices.Contains(names, sel.Sel.Name)) && importsPackage(file, id.Name) {
			uses = append(uses, id.Name+"."+sel.Sel.Name)
		}
		return true
	})
	return uses
}

func importsPackage(file *ast.File, name string) bool {
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
		path := strings.Trim(i.Path.Value, `"`)
		return path == name || strings.HasSuffix(path, "/"+name)
	})
}
