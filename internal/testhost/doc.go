// Package testhost starts the machine of a test: an OpenSSH server of its own
// and the Docker daemon of all tests, on the loopback alone; it finds a browser
// too. Where the programs are missing the test is skipped with the
// reason.
//
// It is for tests only; internal/archtest keeps it out of every binary.
package testhost
