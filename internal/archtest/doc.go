// Package archtest holds the tests that keep the architecture true: who may
// import whom, how long a file may be, which packages may look at the clock,
// and what may be linked into a release binary. ARCHITECTURE.md explains the
// picture these tests enforce.
package archtest
