//go:build race

package dcap_test

const raceEnabled = true
