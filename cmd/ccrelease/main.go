// Command ccrelease makes the parts of a release that are no programs, and
// checks a finished one. It is called by the configuration of GoReleaser and by
// scripts/release_dry.sh, and is in no release itself.
//
//	ccrelease sbom PROGRAM FILE          bill of materials, in SPDX 2.3
//	ccrelease image TARGET PROGRAM FILE  container image of ccctl; nothing unless TARGET is linux_amd64...
//	ccrelease check DIR VERSION          everything that is wrong with a release
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/release"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "ccrelease: %v\n", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: ccrelease sbom PROGRAM FILE | image TARGET PROGRAM FILE | check DIR VERSION")

func run(args []string, out io.Writer) error {
	switch {
	case len(args) == 3 && args[0] == "sbom":
		return writeSBOM(args[1], args[2])
	case len(args) == 4 && args[0] == "image":
		return writeImage(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "check":
		if err := release.Check(args[1], args[2]); err != nil {
			return fmt.Errorf("check release:\n%w", err)
		}
		_, err := fmt.Fprintf(out, "%s: %d files are as they should be\n", args[1], len(release.Files(args[2])))
		return err
	}
	return errUsage
}

func writeSBOM(program, file string) error {
	p, err := release.ReadProgram(program)
	if err != nil {
		return err
	}
	text, err := p.SBOM()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(file, text, 0o644)
}

// writeImage is called for the program of every target. The image is of one.
func writeImage(target, program, file string) error {
	if !strings.HasPrefix(target, "linux_amd64") {
		return nil
	}
	data, err := os.ReadFile(program) //nolint:gosec // Reading what it is told is its purpose.
	if err != nil {
		return fmt.Errorf("read program: %w", err)
	}
	image, err := release.ImageOf(data)
	if err != nil {
		return fmt.Errorf("make image of %s: %w", program, err)
	}
	return atomicfile.WriteFile(file, image, 0o644)
}
