// Command ccctl does by hand what the Terraform provider does on apply, and
// answers the questions that come up between applies.
//
// How the package is laid out:
//
//   - main.go and run.go start it, exit.go maps errors to exit codes, ui.go is
//     the only place that writes to a terminal.
//   - Every noun (pf, model, tls, quote, keyserver ...) has one file with a
//     function new<Noun>Command(u *ui) *cobra.Command that run.go lists, and
//     one function per verb below it. A verb parses its flags, calls a package
//     of internal/, and reports through u.report.
//   - testdata/script/<noun>_*.txtar holds each noun's sessions, run against
//     the real command by TestScript.
package main

import "os"

func main() {
	takeProcess()
	os.Exit(mainExit())
}
