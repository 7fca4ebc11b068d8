// Package statefile is how a running key server is found again by whoever started it.
//
// The server holds an exclusive lock (flock) on a file for as long as it lives, and writes into it where it listens and
// which configuration is in force. The kernel drops the lock with the process, however it ends, so that a file without a
// lock belongs to nobody and a stale PID misleads nobody.
package statefile
