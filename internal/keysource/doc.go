// Package keysource reads wrap keys from where they are kept: a file, a systemd credential, a variable of the
// environment, or the output of a command.
//
// A [Source] is asked again whenever its owner likes, and writes the key into the caller's array: the caller decides how
// long it lives and wipes it. What a source needs in between it wipes itself, as far as Go's memory allows. No error and
// no name of a source shows a key, or any of what was read in its place.
//
// A key is [Size] bytes. In a file it is those bytes; where text is what comes naturally it may be written as hex digits
// or base64, and the [Form] says which: none is guessed, since 16 bytes can look like anything.
//
// # What each protects from
//
// A file is as safe as its mode, which is checked. A systemd credential is in memory that is never swapped, and readable
// by the service alone. A variable of the environment was visible in /proc/PID/environ to root and to the user that the process runs
// as, and to every ancestor that passed it on: [Environ] overwrites it there once it has been read, which does not reach the copies of the
// ancestors. A command is trusted with the key; it is run without a shell, with next to no environment, and killed when it takes too long.
package keysource
