// Package release makes and checks what a release has beside its programs.
//
// [ReadProgram] and [Program.SBOM] write the software bill of materials of a
// program, in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), out of what
// the Go toolchain recorded in the program itself: what was linked, and not
// what a file of requirements asks for. [Check] looks at a folder with a
// finished release: names and contents as the Terraform Registry wants them
// (https://developer.hashicorp.com/terraform/registry/providers/publishing),
// every file with its checksum, every program of the same commit and for the
// platform that its archive names, and nothing that does not belong there.
//
// Nothing here depends on the day or the machine: two releases of one commit
// have the same bytes.
package release
