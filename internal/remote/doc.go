// Package remote runs programs and puts files on one machine, which may be
// this one ([Local]), one that is reached by SSH ([DialSSH]), or an instance of
// Alibaba Cloud that is reached by Cloud Assistant ([Assistant]).
//
// What all promise:
//
//   - A program gets its arguments as they are given: nothing is expanded.
//   - Run returns nil when the program ended with 0, an [*ExitError] when it
//     ended otherwise, and any other error when that is not known.
//   - When the context ends, the program is asked to end (SIGTERM) and Run
//     returns soon, whether it does or not.
//   - Put leaves the old file or the new one under the final name, never half.
//     The new one has been compared with the source, by its SHA-256 as computed
//     on the far side, before it gets its name.
//   - Content of a [File] that is Secret is never readable by others, goes
//     through no argument and no environment, and leaves no digest behind.
//
// # SSH
//
// The host's key must be known before the first byte is sent: from a list of
// keys or from a known_hosts file. There is no trust on first use, because
// whoever answers first would get the wrap key.
//
// A large file goes to a temporary name that is derived from its content, in
// chunks, each of which is acknowledged before the next. After a connection is
// lost the next attempt goes on where the last whole chunk ended.
//
// With Sudo, programs and the SFTP server run as root by way of `sudo -n`: the
// user needs a rule without password.
//
// # Cloud Assistant
//
// It needs no open port and no key, and it has a price: the service keeps what
// goes through it for weeks, and shows it to whoever may list commands. So what
// is Secret is refused ([ErrKept]). A command is a script of at most 24 KB of
// which the end of the output, at most 24 KB, comes back; so a file goes in
// pieces of 24 KB which the machine puts together, and a program's output goes
// to files there that are read in pieces of 16 KB. Files and output are limited
// to 4 MiB, some hundred calls. An attempt that broke off is resumed by piece.
package remote
