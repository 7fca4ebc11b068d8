// Package audit keeps the key server's account of itself: a file to which entries are only ever added, each bound to the
// one before it by a hash, and from time to time signed.
//
// The file has one JSON object a line:
//
//	{"seq":7,"time":"2026-11-02T10:00:00Z","event":"release","prev":"5f3c...","data":{...}}
//
// seq counts from 1 without gaps. prev is the SHA-256, in hex, of the line before without its line feed; that of the
// first line, whose event is "begin", is all zeros. Changing, removing or moving a line breaks every prev after it.
//
// An entry is acknowledged, that is [Log.Append] returns, when it has been synced to the device (fsync); entries that arrive
// together are synced together. There is no setting that syncs less. A process that is killed loses no acknowledged entry.
// What it was about to write may be there in part: the next [Open] cuts that off and says so in an entry of its own.
//
// When the device is full nothing is acknowledged, what arrived of the entry is cut off again, and the next Append tries
// anew. When syncing fails nothing is acknowledged any more until the next Open, because what of the file has reached the
// device is unknown then.
//
// With [Options].Copy every line goes to a second place, too, such as standard output for a collector of logs: in order, once it
// is on the device and before it is acknowledged. [Verify] takes the lines that were collected for a log
// if it is told that files are joined there.
//
// # Files
//
// A log may go on in a new file after some size. The former one is kept beside it, under the number of its first entry:
// FILE.000000000001, FILE.000000051234, and so on; FILE is always the present one. Each but the first begins with a
// "continue" entry that follows the last one of the file before it, so that the chain is one and [VerifyFiles] finds a
// missing or changed file as it finds a missing or changed line. Other programs must not rename or shorten FILE while it
// is being written. Former files may be archived: the continue entry carries a checkpoint of all that was before it, and
// with it what is left can be verified on its own.
//
// # Checkpoints
//
// A chain of hashes alone can be rewritten as a whole, and its end can be cut off. Against that there are checkpoints:
// signed notes (golang.org/x/mod/sumdb/note) that say how many entries there are and what the last one's hash is. They are
// entries of the log, and the latest is beside it in FILE.checkpoint or in a file of the owner's choice, and given to
// [Options].Signed, to be sent to another machine. [Verify] holds a log against them. Whoever has the signing key, which a server that signs by itself keeps on its own host, can make new
// checkpoints for a rewritten log: only copies that had left the host before are proof then.
package audit
