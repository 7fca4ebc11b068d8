//go:build race

package keyserver

// raceEnabled: what the detector adds to memory and time is more than the server's own.
const raceEnabled = true
