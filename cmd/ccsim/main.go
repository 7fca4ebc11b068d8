// Command ccsim impersonates the outside world for demonstrations and tests: an SGX platform with its collateral
// service, and an enclave that fetches its key as Gramine's client does. It is in no release: nothing it makes proves
// anything about any hardware.
//
// The package is laid out as cmd/ccctl: run.go starts it, every command has one file with a function
// new<Name>Command(s *streams) *cobra.Command, and testdata/script holds a session for each.
package main

import "os"

func main() {
	os.Exit(mainExit())
}
