package release

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/version"
)

// Program is a program that was built, and what it is made of.
type Program struct {
	Name    string // of its file
	SHA256  [32]byte
	Build   *debug.BuildInfo
	Version version.Info
}

// ReadProgram reads a program's file.
func ReadProgram(path string) (*Program, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	defer func() { _ = f.Close() }()
	p, err := readProgram(filepath.Base(path), f)
	if err != nil {
		return nil, fmt.Errorf("read program %s: %w", path, err)
	}
	return p, nil
}

// readerAtSeeker is a file, or an archive's member in memory.
type readerAtSeeker interface {
	io.Reader
	io.ReaderAt
}

func readProgram(name string, r readerAtSeeker) (*Program, error) {
	p := &Program{Name: name}
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, fmt.Errorf("it is no program that Go has built: %w", err)
	}
	p.Build, p.Version = info, version.From(info)
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return nil, err
	}
	sum.Sum(p.SHA256[:0])
	return p, nil
}

// The parts of an SPDX document that are written here.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID            string        `json:"SPDXID"`
		Name          string        `json:"name"`
		Version       string        `json:"versionInfo"`
		FileName      string        `json:"packageFileName,omitempty"`
		Supplier      string        `json:"supplier"`
		Download      string        `json:"downloadLocation"`
		FilesAnalyzed bool          `json:"filesAnalyzed"`
		Checksums     []checksum    `json:"checksums,omitempty"`
		SourceInfo    string        `json:"sourceInfo,omitempty"`
		Concluded     string        `json:"licenseConcluded"`
		Declared      string        `json:"licenseDeclared"`
		Copyright     string        `json:"copyrightText"`
		References    []externalRef `json:"externalRefs,omitempty"`
		Purpose       string        `json:"primaryPackagePurpose"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	externalRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const (
	noAssertion = "NOASSERTION"
	homepage    = "https://github.com/ccctl/terraform-provider-cc"
	ownLicense  = "MPL-2.0"
)

// SBOM writes the program's bill of materials. It has the time of the commit,
// so a program without one has none.
func (p *Program) SBOM() ([]byte, error) {
	created, err := time.Parse(time.RFC3339, p.Version.Time)
	if err != nil {
		return nil, fmt.Errorf("list parts of %s: the program does not record the commit it was built from (go build -buildvcs=true)", p.Name)
	}
	if p.Build.Main.Path == "" {
		return nil, fmt.Errorf("list parts of %s: the program does not record its module", p.Name)
	}
	sum := hex.EncodeToString(p.SHA256[:])
	doc := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: p.Name, Namespace: homepage + "/sbom/" + p.Name + "-" + sum,
		Creation: creation{created.UTC().Format(time.RFC3339), []string{"Tool: ccrelease"}},
	}
	main := newPackage(p.Build.Main.Path, p.Version.Version)
	main.FileName, main.Purpose, main.Declared = p.Name, "APPLICATION", ownLicense
	main.Checksums = []checksum{{"SHA256", sum}}
	main.SourceInfo = fmt.Sprintf("commit %s, built by %s for %s", p.Version.Revision, p.Version.Go, p.Version.Platform)
	doc.Packages = append(doc.Packages, main)
	doc.Relationships = append(doc.Relationships, relationship{doc.ID, "DESCRIBES", main.ID})

	library := newPackage("stdlib", strings.TrimPrefix(p.Build.GoVersion, "go"))
	library.SourceInfo = "the standard library of Go"
	parts := []spdxPackage{library}
	for _, m := range p.Build.Deps {
		from := m
		if m.Replace != nil {
			from = m.Replace
		}
		part := newPackage(from.Path, from.Version)
		switch {
		case m.Replace != nil:
			part.SourceInfo = fmt.Sprintf("in place of %s %s; %s", m.Path, m.Version, from.Sum)
		case from.Sum != "":
			part.SourceInfo = "go.sum " + from.Sum
		default:
			return nil, fmt.Errorf("list parts of %s: %s %s has no checksum", p.Name, from.Path, from.Version)
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts[1:], func(a, b spdxPackage) int { return strings.Compare(a.Name, b.Name) })
	used := map[string]bool{main.ID: true}
	for _, part := range parts {
		for used[part.ID] { // names that differ in what an identifier may not have
			part.ID += "-"
		}
		used[part.ID] = true
		doc.Packages = append(doc.Packages, part)
		doc.Relationships = append(doc.Relationships, relationship{main.ID, "DEPENDS_ON", part.ID})
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("list parts of %s: %w", p.Name, err)
	}
	return append(text, '\n'), nil
}

// newPackage describes a module. Its licence and where it was downloaded from
// are not in a program, and nothing is claimed about them.
func newPackage(path, version string) spdxPackage {
	return spdxPackage{
		ID: "SPDXRef-Package-" + identifier(path+"-"+version), Name: path, Version: version, Supplier: noAssertion, Download: noAssertion,
		Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Purpose: "LIBRARY",
		References: []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + purlPath(path) + "@" + strings.ReplaceAll(version, "+", "%2B")}},
	}
}

// identifier keeps what an SPDX identifier may have: letters, digits, dot and hyphen.
func identifier(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, s)
}

// purlPath writes a module's path as a package URL does: in small letters.
// Source: types-doc/golang-definition of the purl specification.
func purlPath(path string) string { return strings.ToLower(path) }

// checkSBOM tells whether a bill of materials is this program's.
func (p *Program) checkSBOM(text []byte) error {
	want, err := p.SBOM()
	if err != nil {
		return err
	}
	if string(want) != string(text) {
		return errors.New("it is not what the program says it is made of")
	}
	return nil
}
