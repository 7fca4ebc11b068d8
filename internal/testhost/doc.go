// Package testhost starts the machine of a test: an OpenSSH server and a
// Docker daemon of its own on this one, on the loopback alone; it finds a
// browser too. Where the programs are missing the test is skipped with the
// reason.
//
// It is for tests only; internal/archtest keeps it out of every binary.
package testhost
