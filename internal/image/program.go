package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// CheckProgram looks at the header of a program: an image FROM scratch has no
// dynamic linker and no libraries for it.
func CheckProgram(r io.ReaderAt) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return errors.New("it is not a Linux program; the image needs ccctl for linux/amd64")
	}
	defer func() { _ = f.Close() }()
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("it is a program for %s; the image needs ccctl for linux/amd64", machine(f))
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("it is not a program but an ELF file of type %s", f.Type)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is dynamically linked, and the image has no libraries; build ccctl with CGO_ENABLED=0, or take the released one")
		}
	}
	return nil
}

func machine(f *elf.File) string {
	switch f.Machine {
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "386"
	default:
		return f.Machine.String()
	}
}

// CheckReference tells what is wrong with the reference of an image in a
// registry, which must have a digest.
func CheckReference(s string) error {
	if !strings.Contains(s, "@") {
		return fmt.Errorf("%q has no digest", s)
	}
	if _, err := name.NewDigest(s, name.StrictValidation); err != nil {
		return fmt.Errorf("%q is not the reference of an image by its digest", s)
	}
	return nil
}
